# NAT of WRN-34-10 on CIFAR-10 with an adversary of its own architecture that is trained with sharpness-aware
# minimisation instead of vanilla; otherwise wrn34_10_cifar10_nat.py, which is the vanilla state.
# Command: python tools/train.py configs/cls/wrn34_10_cifar10_nat_state_sam.py
# (Trains the adversary wrn34_10_cifar10_sam.py first, once.)
# Cost: 14 forwards and 12 backwards per image and step.
# Paper's number (Table 8): clean 84.44, PGD-20 63.71, C&W 65.01, AA 47.69.
_base_ = ["wrn34_10_cifar10_nat.py"]
method = dict(
    terms=[
        _base_.method.terms[0],
        dict(_base_.method.terms[1], adversary=dict(config="configs/cls/wrn34_10_cifar10_sam.py")),
    ],
)
