# What the schedules on CIFAR share: SGD at 0.1 with momentum and weight decay.
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=5e-4))
