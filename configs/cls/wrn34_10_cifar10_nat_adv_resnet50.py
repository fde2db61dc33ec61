# NAT of WRN-34-10 on CIFAR-10 with a vanilla ResNet-50 as its adversary; otherwise wrn34_10_cifar10_nat.py.
# Command: python tools/train.py configs/cls/wrn34_10_cifar10_nat_adv_resnet50.py
# (Trains the adversary r50_cifar10_vt.py first, once.)
# Cost: 14 forwards and 12 backwards per image and step.
# Paper's number (Table 7): clean 88.12, PGD-20 66.71, C&W 67.47, AA 46.67.
_base_ = ["r18_cifar10_nat_adv_resnet50.py"]
task = dict(model="wrn_34_10")
