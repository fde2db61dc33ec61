# PGD adversarial training of ResNet-18 on CIFAR-10 with smoothed labels (0.1): a soft label that knows no similar
# classes, beside the mixup of App. K. The inner attack climbs the cross-entropy of the hard labels.
# Command: python tools/train.py configs/cls/r18_cifar10_label_smoothing.py
# Cost: as r18_cifar10_pgd_at.py (11 forwards and 11 backwards per image and step).
# Paper's number: none (no row of Table 11); compare with r18_cifar10_pgd_at.py.
_base_ = ["r18_cifar10_pgd_at.py"]
task = dict(label_smoothing=0.1)
