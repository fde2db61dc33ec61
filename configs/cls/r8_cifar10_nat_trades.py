# NAT on TRADES of ResNet-8 on 6,000 CIFAR-10 images, for CPUs: the loss of r8_cifar10_trades.py less the nasty term on
# both views.
# Command: python tools/train.py configs/cls/r8_cifar10_nat_trades.py
# (Trains the adversary r8_cifar10_vt.py first, once.)
# Cost: 15 forwards and 12 backwards per image and step, about 20 minutes on one CPU thread.
# Paper's number: none (the paper has no NAT on TRADES); compare with r8_cifar10_trades.py.
_base_ = ["r8_cifar10_trades.py"]
method = dict(
    terms=[
        *_base_.method.terms,
        dict(type="NastyKL", weight=0.06, temperature=4.0, adversary=dict(config="configs/cls/r8_cifar10_vt.py")),
    ],
)
