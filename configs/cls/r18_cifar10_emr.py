# PGD adversarial training of ResNet-18 on CIFAR-10 with its output's entropy as a penalty (EMR, App. K, Eq. 16 with the
# sign of the text: the entropy is minimised).
# Command: python tools/train.py configs/cls/r18_cifar10_emr.py
# Cost: as r18_cifar10_pgd_at.py (11 forwards and 11 backwards per image and step).
# Paper's number (Table 11): clean 90.4, PGD-20 54.67, AA 47.77 (AT+EMR).
# The weight is the paper's, about a thousandth of NAT's effective one: sweep it before comparing.
_base_ = ["r18_cifar10_pgd_at.py"]
method = dict(terms=[dict(type="TaskLoss"), dict(type="EMR", weight=1e-3)])
