# Nasty-Teacher's normal training of CIFAR-100 (params.json: 200 epochs, x0.2 at 60, 120 and 160).
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=5e-4))
param_scheduler = [dict(type="MultiStepLR", milestones=[60, 120, 160], gamma=0.2, by_epoch=True)]
train_cfg = dict(max_epochs=200)
