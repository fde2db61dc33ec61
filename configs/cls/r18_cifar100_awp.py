# AT-AWP of ResNet-18 on CIFAR-100 (Wu et al. 2020), with the settings of r18_cifar10_awp.py.
# Command: python tools/train.py configs/cls/r18_cifar100_awp.py
# Cost: 12 forwards and 12 backwards per image and step.
# Paper's number (Table 2): clean 54.00, PGD-20 31.49, C&W 28.20, AA 26.19.
_base_ = ["r18_cifar10_awp.py"]
task = dict(num_classes=100)
data = dict(train=dict(type="CIFAR100"), test=dict(type="CIFAR100"))
