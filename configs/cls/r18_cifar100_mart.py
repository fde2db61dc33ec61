# MART of ResNet-18 on CIFAR-100 (Wang et al. 2020), with the settings of r18_cifar10_mart.py.
# Command: python tools/train.py configs/cls/r18_cifar100_mart.py
# Cost: 12 forwards and 12 backwards per image and step.
# Paper's number (Table 2): clean 55.14, PGD-20 28.08, C&W 25.65, AA 24.04.
_base_ = ["r18_cifar10_mart.py"]
task = dict(num_classes=100)
data = dict(train=dict(type="CIFAR100"), test=dict(type="CIFAR100"))
