# LBGAT's schedule (dvlab-research/LBGAT, train_lbgat_cifar100.py, which counts epochs from 1): 100 epochs of SGD at
# 0.1, at 0.02 in the first, 0.01 from epoch 76 on, 0.001 from 91 on.
_base_ = ["sgd.py"]
optim_wrapper = dict(optimizer=dict(weight_decay=2e-4))
param_scheduler = [
    dict(type="ConstantLR", factor=0.2, begin=0, end=2, by_epoch=True),
    dict(type="MultiStepLR", milestones=[75, 90], gamma=0.1, by_epoch=True),
]
train_cfg = dict(max_epochs=100)
