# NAT of WRN-34-10 on CIFAR-10 with a vanilla ResNet-18 as its adversary; otherwise wrn34_10_cifar10_nat.py.
# Command: python tools/train.py configs/cls/wrn34_10_cifar10_nat_adv_resnet18.py
# (Trains the adversary r18_cifar10_vt.py first, once.)
# Cost: 14 forwards and 12 backwards per image and step.
# Paper's number (Table 7): clean 88.09, PGD-20 64.88, C&W 67.36, AA 48.43.
_base_ = ["wrn34_10_cifar10_nat.py"]
method = dict(
    terms=[
        _base_.method.terms[0],
        dict(_base_.method.terms[1], adversary=dict(config="configs/cls/r18_cifar10_vt.py")),
    ],
)
