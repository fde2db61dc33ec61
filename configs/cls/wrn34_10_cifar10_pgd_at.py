# PGD adversarial training of WRN-34-10 on CIFAR-10 (Madry et al. 2018; Eq. 4): adversarial images only.
# Command: python tools/train.py configs/cls/wrn34_10_cifar10_pgd_at.py
# Cost: 11 forwards and 11 backwards per image and step; the paper reports about 1047.2 s an epoch (Table 9).
# Paper's number (Table 1): clean 85.17, PGD-20 55.08, AA 51.67.
_base_ = [
    "../_base_/models/wrn34_10_cifar.py",
    "../_base_/datasets/cifar10.py",
    "../_base_/schedules/paper_300e.py",
    "../_base_/methods/pgd_at.py",
    "../_base_/default_runtime.py",
]
