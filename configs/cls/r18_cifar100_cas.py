# CAS of ResNet-18 on CIFAR-100 (Bai et al. 2021), with the settings of r18_cifar10_cas.py.
# Command: python tools/train.py configs/cls/r18_cifar100_cas.py
# Cost: 11 forwards and 11 backwards per image and step.
# Paper's number (Table 2): clean 64.04, PGD-20 31.55, C&W 34.82, AA 24.40.
_base_ = ["r18_cifar10_cas.py"]
task = dict(num_classes=100)
data = dict(train=dict(type="CIFAR100"), test=dict(type="CIFAR100"))
