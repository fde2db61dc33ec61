# PGD adversarial training of ResNet-8 on 6,000 CIFAR-10 images, for CPUs, on blends of two images, 0.7 and 0.3 (mixup).
# Command: python tools/train.py configs/cls/r8_cifar10_mixup.py
# Cost: as r8_cifar10_pgd_at.py (11 forwards and 11 backwards per image and step).
# Paper's number: none (the small version of Table 11 for CPUs); compare with r8_cifar10_pgd_at.py.
_base_ = ["r8_cifar10_pgd_at.py"]
data = dict(augments=[*_base_.data.augments, dict(type="Mixup", num_classes=10, ratio=0.7)])
