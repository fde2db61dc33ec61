# Nasty-Teacher's normal training of CIFAR-100 (params.json: 200 epochs, x0.2 at 60, 120 and 160).
_base_ = ["sgd.py"]
param_scheduler = [dict(type="MultiStepLR", milestones=[60, 120, 160], gamma=0.2, by_epoch=True)]
train_cfg = dict(max_epochs=200)
