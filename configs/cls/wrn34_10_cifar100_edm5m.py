# Adversarial training of WRN-34-10 on CIFAR-100 and 5M generated images; otherwise wrn34_10_cifar100_edm1m.py.
# Command: python tools/train.py configs/cls/wrn34_10_cifar100_edm5m.py
# (There is no published set of 5M for CIFAR-100: it is drawn, once and with a fixed seed, from the first part of the
# 50M published with DM-Improves-AT; put cifar100/50m_part1.npz under data/edm/cifar100/. Reading it takes 55 GB.)
# Cost: as wrn34_10_cifar100_edm1m.py (13 forwards and 12 backwards per image and step).
# Paper's number (Table 3): none for this model.
_base_ = ["wrn34_10_cifar100_edm1m.py"]
data = dict(generated=dict(path="data/edm/cifar100/50m_part1.npz", count=5_000_000))
