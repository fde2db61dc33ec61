# PGD adversarial training of ResNet-8 on 6,000 CIFAR-10 images, for CPUs, with the L2 norm of its output rewarded (NNR,
# Eq. 17).
# Command: python tools/train.py configs/cls/r8_cifar10_nnr.py
# Cost: as r8_cifar10_pgd_at.py (11 forwards and 11 backwards per image and step).
# Paper's number: none (the small version of Table 11 for CPUs); compare with r8_cifar10_pgd_at.py.
_base_ = ["r8_cifar10_pgd_at.py"]
method = dict(terms=[dict(type="TaskLoss"), dict(type="NNR", weight=1e-3)])
