# NAT of WRN-34-10 on CIFAR-100 (Eq. 5): clean and adversarial images, and the nasty term on both.
# Command: python tools/train.py configs/cls/wrn34_10_cifar100_nat.py
# (Trains the adversary wrn34_10_cifar100_vt.py first, once.)
# Cost: 14 forwards and 12 backwards per image and step; the paper reports about 1328.2 s an epoch (Table 9).
# Paper's number (Table 1): best: clean 62.87, PGD-20 36.36, C&W 32.79, AA 30.85; last: 61.18, 35.68, 30.61, 29.14.
# Reading of the weight: 0.006 at temperature 20, effective weight 2.4 (docs/paper.md says why).
_base_ = ["wrn34_10_cifar100_pgd_at_union.py"]
method = dict(
    terms=[
        dict(type="TaskLoss"),
        dict(
            type="NastyKL",
            weight=0.006,
            temperature=20.0,
            adversary=dict(config="configs/cls/wrn34_10_cifar100_vt.py"),
        ),
    ],
)
