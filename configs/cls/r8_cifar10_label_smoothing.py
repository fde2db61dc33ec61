# PGD adversarial training of ResNet-8 on 6,000 CIFAR-10 images, for CPUs, with smoothed labels (0.1).
# Command: python tools/train.py configs/cls/r8_cifar10_label_smoothing.py
# Cost: as r8_cifar10_pgd_at.py (11 forwards and 11 backwards per image and step).
# Paper's number: none; compare with r8_cifar10_pgd_at.py.
_base_ = ["r8_cifar10_pgd_at.py"]
task = dict(label_smoothing=0.1)
