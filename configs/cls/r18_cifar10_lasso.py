# PGD adversarial training of ResNet-18 on CIFAR-10 with the L1 norm of its weights as a penalty (App. K, Eq. 15).
# Command: python tools/train.py configs/cls/r18_cifar10_lasso.py
# Cost: as r18_cifar10_pgd_at.py (11 forwards and 11 backwards per image and step).
# Paper's number (Table 11): clean 88.06, PGD-20 39.77, AA 30.54 (AT+LASSO).
# Biases and batch norm are left out; the paper does not say whether it did.
_base_ = ["r18_cifar10_pgd_at.py"]
method = dict(terms=[dict(type="TaskLoss"), dict(type="LASSO", weight=1e-4)])
