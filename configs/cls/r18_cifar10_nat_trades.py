# NAT on TRADES of ResNet-18 on CIFAR-10: the loss of r18_cifar10_trades.py less the nasty term on both views.
# Command: python tools/train.py configs/cls/r18_cifar10_nat_trades.py
# (Trains the adversary r18_cifar10_vt.py first, once.)
# Cost: 15 forwards and 12 backwards per image and step.
# Paper's number: none (the paper has no NAT on TRADES); compare with r18_cifar10_trades.py.
_base_ = ["r18_cifar10_trades.py"]
method = dict(
    terms=[
        *_base_.method.terms,
        dict(type="NastyKL", weight=0.06, temperature=4.0, adversary=dict(config="configs/cls/r18_cifar10_vt.py")),
    ],
)
