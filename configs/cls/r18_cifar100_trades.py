# TRADES of ResNet-18 on CIFAR-100 (Zhang et al. 2019), with the settings of r18_cifar10_trades.py.
# Command: python tools/train.py configs/cls/r18_cifar100_trades.py
# Cost: 13 forwards and 12 backwards per image and step.
# Paper's number (Table 2): clean 58.18, PGD-20 28.25, C&W 24.22, AA 24.03.
_base_ = ["r18_cifar10_trades.py"]
task = dict(num_classes=100)
data = dict(train=dict(type="CIFAR100"), test=dict(type="CIFAR100"))
