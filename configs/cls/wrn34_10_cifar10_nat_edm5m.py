# NAT of WRN-34-10 on CIFAR-10 and 5M generated images: the recipe of wrn34_10_cifar10_edm5m.py less the nasty term on
# both views, for real and generated images alike.
# Command: python tools/train.py configs/cls/wrn34_10_cifar10_nat_edm5m.py
# (Trains the adversary wrn34_10_cifar10_vt.py first, once; the generated images are those of
# wrn34_10_cifar10_edm5m.py.)
# Cost: 15 forwards and 12 backwards per image and step.
# Paper's number (Table 3): clean 91.01, AA 57.24.
# The paper says no more than "the same augmentation strategy": whether its loss has TRADES, smoothed labels or averaged
# weights is open. The same table has higher numbers of the recipe without NAT (wrn34_10_cifar10_edm1m.py).
_base_ = ["wrn34_10_cifar10_nat_edm1m.py"]
data = dict(generated=dict(path="data/edm/cifar10/5m.npz"))
