# TRADES' schedule (train_trades_cifar10.py and its README): 76 epochs of SGD at 0.1, divided by 10 for the last two.
_base_ = ["sgd.py"]
optim_wrapper = dict(optimizer=dict(weight_decay=2e-4))
param_scheduler = [dict(type="MultiStepLR", milestones=[74], gamma=0.1, by_epoch=True)]
train_cfg = dict(max_epochs=76)
