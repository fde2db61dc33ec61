# LBGAT6 of ResNet-8 on 6,000 CIFAR-10 images, for CPUs: r8_cifar10_lbgat.py with 6 times TRADES' KL beside it.
# Command: python tools/train.py configs/cls/r8_cifar10_lbgat6.py
# Cost: 14 forwards and 13 backwards per image and step, about 20 minutes on one CPU thread.
# Paper's number: none (the small version of Table 1 for CPUs).
_base_ = ["r8_cifar10_lbgat.py"]
method = dict(terms=[*_base_.method.terms, dict(type="TRADES", weight=6.0)])
