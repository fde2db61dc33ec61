# TRADES of WRN-34-10 on CIFAR-10 (Zhang et al. 2019), the original's own setting; see r18_cifar10_trades.py.
# Command: python tools/train.py configs/cls/wrn34_10_cifar10_trades.py
# Cost: 13 forwards and 12 backwards per image and step.
# Paper's number (Table 1): clean 85.72, PGD-20 56.10, C&W 53.87, AA 53.40.
_base_ = ["r18_cifar10_trades.py"]
task = dict(model="wrn_34_10")
