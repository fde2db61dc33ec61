# NAT of WRN-34-10 on CIFAR-10 (Eq. 5): clean and adversarial images, and the nasty term on both.
# Command: python tools/train.py configs/cls/wrn34_10_cifar10_nat.py
# (Trains the adversary wrn34_10_cifar10_vt.py first, once.)
# Cost: 14 forwards and 12 backwards per image and step; the paper reports about 1165.8 s an epoch (Table 9).
# Paper's number (Table 1): best: clean 89.15, PGD-20 62.34, C&W 65.10, AA 52.95; last: 87.33, 63.66, 63.40, 50.23.
# Reading of the weight: 0.06 at temperature 4, effective weight 0.96 (docs/paper.md says why).
_base_ = ["wrn34_10_cifar10_pgd_at_union.py"]
method = dict(
    terms=[
        dict(type="TaskLoss"),
        dict(type="NastyKL", weight=0.06, temperature=4.0, adversary=dict(config="configs/cls/wrn34_10_cifar10_vt.py")),
    ],
)
