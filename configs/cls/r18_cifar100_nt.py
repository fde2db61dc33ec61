# Nasty training of ResNet-18 on CIFAR-100 (Eq. 2): clean images and the nasty term, no adversarial images.
# Command: python tools/train.py configs/cls/r18_cifar100_nt.py
# (Trains the adversary r18_cifar100_vt.py first, once.)
# Cost: 2 forwards and 1 backward per image and step. Paper's number: Table 11's NT row (CIFAR-10, ResNet-18) is in
# docs/paper.md; not robust by the paper's own account.
_base_ = ["r18_cifar100_vt.py"]
method = dict(
    terms=[
        dict(type="TaskLoss"),
        # Nasty-Teacher's own weight (0.005 at temperature 20, params.json).
        dict(
            type="NastyKL",
            weight=0.005,
            temperature=20.0,
            on=("clean",),
            adversary=dict(config="configs/cls/r18_cifar100_vt.py"),
        ),
    ],
)
