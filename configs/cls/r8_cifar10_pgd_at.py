# PGD adversarial training (adversarial images only) of ResNet-8 on 6,000 CIFAR-10 images, for CPUs.
# Command: python tools/train.py configs/cls/r8_cifar10_pgd_at.py
# Cost: 11 forwards and 11 backwards per image and step, about 15 minutes on one CPU thread.
# Paper's number: none (the small version of Table 2 for CPUs); results/cifar10_small.md has ours.
_base_ = ["../_base_/runtime.py", "../_base_/cifar10_small.py"]
task = dict(type="ClassificationTask", model="resnet8_cifar", num_classes=10, channels_last=True)
method = dict(
    type="Adversarial",
    views=("adv",),
    attack=dict(type="PGD", threat=dict(type="Linf", eps=8 / 255), steps=10, step_size=2 / 255),
)
