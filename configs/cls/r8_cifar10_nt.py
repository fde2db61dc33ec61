# Nasty training (Eq. 2) of ResNet-8 on 6,000 CIFAR-10 images, for CPUs: no adversarial images.
# Command: python tools/train.py configs/cls/r8_cifar10_nt.py
# Cost: 2 forwards and 1 backward per image and step.
# Paper's number: none (the small version of Table 2 for CPUs); results/cifar10_small.md has ours.
_base_ = ["r8_cifar10_vt.py"]
method = dict(
    terms=[
        dict(type="TaskLoss"),
        dict(
            type="NastyKL",
            weight=0.04,
            temperature=4.0,
            on=("clean",),
            adversary=dict(config="configs/cls/r8_cifar10_vt.py"),
        ),
    ],
)
