# PGD adversarial training of ResNet-18 on CIFAR-10 with the L2 norm of its output rewarded (NNR, App. K, Eq. 17).
# Command: python tools/train.py configs/cls/r18_cifar10_nnr.py
# Cost: as r18_cifar10_pgd_at.py (11 forwards and 11 backwards per image and step).
# Paper's number (Table 11): clean 92.13, PGD-20 52.59, AA 46.53 (AT+NNR).
# The weight is the paper's, about a thousandth of NAT's effective one: sweep it before comparing.
_base_ = ["r18_cifar10_pgd_at.py"]
method = dict(terms=[dict(type="TaskLoss"), dict(type="NNR", weight=1e-3)])
