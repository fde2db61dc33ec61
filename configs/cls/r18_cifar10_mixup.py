# PGD adversarial training of ResNet-18 on CIFAR-10 on blends of two images, 0.7 and 0.3 (mixup, App. K).
# Command: python tools/train.py configs/cls/r18_cifar10_mixup.py
# Cost: as r18_cifar10_pgd_at.py (11 forwards and 11 backwards per image and step).
# Paper's number (Table 11): clean 82.5, PGD-20 46.88, AA 38.07 (AT+mixup).
# The inner attack climbs the cross-entropy with the blended labels.
_base_ = ["r18_cifar10_pgd_at.py"]
data = dict(augments=[*_base_.data.augments, dict(type="Mixup", num_classes=10, ratio=0.7)])
