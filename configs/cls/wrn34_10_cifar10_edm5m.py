# Adversarial training of WRN-34-10 on CIFAR-10 and 5M generated images; otherwise wrn34_10_cifar10_edm1m.py.
# Command: python tools/train.py configs/cls/wrn34_10_cifar10_edm5m.py
# (Get cifar10/5m.npz from the data published with DM-Improves-AT and put it under data/edm/cifar10/; 15 GB in memory.
# Unlike the 1M, which are the most confidently classified fifth of 5M, these are not selected.)
# Cost: as wrn34_10_cifar10_edm1m.py (13 forwards and 12 backwards per image and step).
# Paper's number (Table 3): none for this model; WRN-70-16 with this recipe, batch 512, 800 epochs: clean 92.58, AA
# 67.92.
_base_ = ["wrn34_10_cifar10_edm1m.py"]
data = dict(generated=dict(path="data/edm/cifar10/5m.npz"))
