# NAT of WRN-34-10 on CIFAR-10 with a vanilla DenseNet-121 as its adversary; otherwise wrn34_10_cifar10_nat.py.
# Command: python tools/train.py configs/cls/wrn34_10_cifar10_nat_adv_densenet121.py
# (Trains the adversary densenet121_cifar10_vt.py first, once.)
# Cost: 14 forwards and 12 backwards per image and step.
# Paper's number (Table 7): clean 87.95, PGD-20 64.39, C&W 65.46, AA 48.47.
_base_ = ["r18_cifar10_nat_adv_densenet121.py"]
task = dict(model="wrn_34_10")
