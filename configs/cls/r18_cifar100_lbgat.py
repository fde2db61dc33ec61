# LBGAT6 of ResNet-18 on CIFAR-100 (Cui et al. 2021): r18_cifar10_lbgat.py with 6 times TRADES' KL beside it.
# Command: python tools/train.py configs/cls/r18_cifar100_lbgat.py
# Cost: 14 forwards and 13 backwards per image and step, of which the natural network takes 1 and 1.
# Paper's number (Table 2): clean 56.78, PGD-20 32.21, C&W 27.46, AA 26.39.
_base_ = ["r18_cifar10_lbgat.py"]
task = dict(num_classes=100)
data = dict(train=dict(type="CIFAR100"), test=dict(type="CIFAR100"))
method = dict(
    terms=[dict(type="LBGAT", natural=dict(_base_.task, num_classes=100)), dict(type="TRADES", weight=6.0)],
)
