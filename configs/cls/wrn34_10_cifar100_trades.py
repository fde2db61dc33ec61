# TRADES of WRN-34-10 on CIFAR-100 (Zhang et al. 2019), with the settings of r18_cifar10_trades.py.
# Command: python tools/train.py configs/cls/wrn34_10_cifar100_trades.py
# Cost: 13 forwards and 12 backwards per image and step.
# Paper's number (Table 1): clean 58.61, PGD-20 28.66, C&W 27.05, AA 25.94.
_base_ = ["r18_cifar100_trades.py"]
task = dict(model="wrn_34_10")
