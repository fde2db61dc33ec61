# PGD adversarial training of WRN-34-10 on CIFAR-100 (Madry et al. 2018; Eq. 4): adversarial images only.
# Command: python tools/train.py configs/cls/wrn34_10_cifar100_pgd_at.py
# Cost: 11 forwards and 11 backwards per image and step; the paper reports about 1197.2 s an epoch (Table 9).
# Paper's number (Table 1): clean 60.89, PGD-20 31.69, AA 27.86.
_base_ = [
    "../_base_/models/wrn34_10_cifar.py",
    "../_base_/datasets/cifar100.py",
    "../_base_/schedules/paper_300e.py",
    "../_base_/methods/pgd_at.py",
    "../_base_/default_runtime.py",
]
task = dict(num_classes=100)
