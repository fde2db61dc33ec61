# 10 epochs of SGD at 0.05 with Nesterov momentum and a cosine decay.
optim_wrapper = dict(
    type="OptimWrapper", optimizer=dict(type="SGD", lr=0.05, momentum=0.9, weight_decay=5e-4, nesterov=True)
)
param_scheduler = [dict(type="CosineAnnealingLR", T_max=10, by_epoch=True)]
train_cfg = dict(max_epochs=10)
