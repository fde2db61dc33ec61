# PGD adversarial training of ResNet-18 on CIFAR-100 (Madry et al. 2018; Eq. 4): adversarial images only.
# Command: python tools/train.py configs/cls/r18_cifar100_pgd_at.py
# Cost: 11 forwards and 11 backwards per image and step; the paper reports about 110.9 s an epoch (Table 9).
# Paper's number (Table 2): clean 62.34, PGD-20 21.38, AA 19.76.
_base_ = [
    "../_base_/models/resnet18_cifar.py",
    "../_base_/datasets/cifar100.py",
    "../_base_/schedules/paper_300e.py",
    "../_base_/methods/pgd_at.py",
    "../_base_/default_runtime.py",
]
task = dict(num_classes=100)
