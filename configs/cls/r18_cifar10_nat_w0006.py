# NAT of ResNet-18 on CIFAR-10 with the other reading of the paper's weight: 0.006 as printed in Sec. 4.1, instead of
# the 0.06 of its ablation (Fig. 2). Effective weight 0.096.
# Command: python tools/train.py configs/cls/r18_cifar10_nat_w0006.py
# Cost: as r18_cifar10_nat.py. Paper's number (Table 2): as r18_cifar10_nat.py; the paper does not say which it used.
_base_ = ["r18_cifar10_nat.py"]
method = dict(terms=[_base_.method.terms[0], dict(_base_.method.terms[1], weight=0.006)])
