# Friendly adversarial training of ResNet-18 on CIFAR-100 (Zhang et al. 2020), with the settings of r18_cifar10_fat.py.
# Command: python tools/train.py configs/cls/r18_cifar100_fat.py
# Cost: at most 11 forwards and 11 backwards per image and step.
# Paper's number (Table 2): clean 61.61, PGD-20 18.35, C&W 19.31, AA 17.38.
_base_ = ["r18_cifar10_fat.py"]
task = dict(num_classes=100)
data = dict(train=dict(type="CIFAR100"), test=dict(type="CIFAR100"))
