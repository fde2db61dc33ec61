# PGD adversarial training of ResNet-18 on CIFAR-10 (Madry et al. 2018; Eq. 4): adversarial images only.
# Command: python tools/train.py configs/cls/r18_cifar10_pgd_at.py
# Cost: 11 forwards and 11 backwards per image and step; the paper reports about 108.6 s an epoch (Table 9).
# Paper's number (Table 2): clean 84.25, PGD-20 46.56, AA 41.69.
_base_ = [
    "../_base_/models/resnet18_cifar.py",
    "../_base_/datasets/cifar10.py",
    "../_base_/schedules/paper_300e.py",
    "../_base_/methods/pgd_at.py",
    "../_base_/default_runtime.py",
]
