# MART's schedule for ResNet-18 (train_resnet.py): 120 epochs of SGD at 0.01, divided by 10 from its epochs 75, 90, 100.
_base_ = ["sgd.py"]
optim_wrapper = dict(optimizer=dict(lr=0.01, weight_decay=3.5e-3))
param_scheduler = [dict(type="MultiStepLR", milestones=[74, 89, 99], gamma=0.1, by_epoch=True)]
train_cfg = dict(max_epochs=120)
