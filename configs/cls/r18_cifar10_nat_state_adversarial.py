# NAT of ResNet-18 on CIFAR-10 with an adversary of its own architecture that is adversarially trained instead of
# vanilla; otherwise r18_cifar10_nat.py, which is the vanilla state.
# Command: python tools/train.py configs/cls/r18_cifar10_nat_state_adversarial.py
# (Trains the adversary r18_cifar10_pgd_at.py first, once.)
# Cost: 14 forwards and 12 backwards per image and step.
# Paper's number: none for this target; with WRN-34-10 as the target (Table 8): clean 85.90, PGD-20 65.96, C&W 63.83, AA
# 53.42.
_base_ = ["r18_cifar10_nat.py"]
method = dict(
    terms=[
        _base_.method.terms[0],
        dict(_base_.method.terms[1], adversary=dict(config="configs/cls/r18_cifar10_pgd_at.py")),
    ],
)
