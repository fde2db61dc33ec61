# LAS-PGD-AT's schedule (jiaxiaojunQAQ/LAS-AT, LAS_AT_train_cifar10.py): 110 epochs of SGD at 0.1, divided by 10 at
# epochs 99 and 104.
_base_ = ["sgd.py"]
param_scheduler = [dict(type="MultiStepLR", milestones=[99, 104], gamma=0.1, by_epoch=True)]
train_cfg = dict(max_epochs=110)
