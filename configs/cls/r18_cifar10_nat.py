# NAT of ResNet-18 on CIFAR-10 (Eq. 5): clean and adversarial images, and the nasty term on both.
# Command: python tools/train.py configs/cls/r18_cifar10_nat.py
# (Trains the adversary r18_cifar10_vt.py first, once.)
# Cost: 14 forwards and 12 backwards per image and step; the paper reports about 129.8 s an epoch (Table 9).
# Paper's number (Table 2): best: clean 90.86, PGD-20 60.94, C&W 62.54, AA 50.18; last: 90.28, 60.00, 61.67, 48.96.
# Reading of the weight: 0.06 at temperature 4, effective weight 0.96 (docs/paper.md says why).
_base_ = ["r18_cifar10_pgd_at_union.py"]
method = dict(
    terms=[
        dict(type="TaskLoss"),
        dict(type="NastyKL", weight=0.06, temperature=4.0, adversary=dict(config="configs/cls/r18_cifar10_vt.py")),
    ],
)
