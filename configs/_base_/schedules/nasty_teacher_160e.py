# The adversary's schedule: Nasty-Teacher's normal training of CIFAR-10 (params.json: 160 epochs, drops at 80 and 120).
_base_ = ["sgd.py"]
param_scheduler = [dict(type="MultiStepLR", milestones=[80, 120], gamma=0.1, by_epoch=True)]
train_cfg = dict(max_epochs=160)
