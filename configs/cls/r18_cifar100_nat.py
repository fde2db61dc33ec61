# NAT of ResNet-18 on CIFAR-100 (Eq. 5): clean and adversarial images, and the nasty term on both.
# Command: python tools/train.py configs/cls/r18_cifar100_nat.py
# (Trains the adversary r18_cifar100_vt.py first, once.)
# Cost: 14 forwards and 12 backwards per image and step; the paper reports about 127.3 s an epoch (Table 9).
# Paper's number (Table 2): best: clean 64.02, PGD-20 36.63, C&W 37.98, AA 28.82; last: 61.80, 34.43, 36.71, 27.17.
# Reading of the weight: 0.006 at temperature 20, effective weight 2.4 (docs/paper.md says why).
_base_ = ["r18_cifar100_pgd_at_union.py"]
method = dict(
    terms=[
        dict(type="TaskLoss"),
        dict(type="NastyKL", weight=0.006, temperature=20.0, adversary=dict(config="configs/cls/r18_cifar100_vt.py")),
    ],
)
