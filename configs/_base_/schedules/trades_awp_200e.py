# TRADES-AWP's schedule (csdongxian/AWP, trades_AWP/train_trades_cifar.py, which counts epochs from 1): awp_200e.py with
# the drops at its epochs 100 and 150.
_base_ = ["awp_200e.py"]
param_scheduler = [dict(type="MultiStepLR", milestones=[99, 149], gamma=0.1, by_epoch=True)]
