# ARD (adversarially robust distillation) of ResNet-8 from a ResNet-8 trained by PGD-AT, on 6,000 CIFAR-10
# images, for CPUs.
# Command: python tools/train.py configs/cls/r8_cifar10_ard.py
# (Trains the teacher r8_cifar10_pgd_at.py first, once.)
# Cost: 12 forwards and 11 backwards per image and step, about 15 minutes on one CPU thread.
# Paper's number: none (the small version of Table 10 for CPUs).
# The KL is the batchmean, C times the authors', whose factor suits their 200 epochs and slows a short training down.
_base_ = ["../_base_/runtime.py", "../_base_/cifar10_small.py"]
task = dict(type="ClassificationTask", model="resnet8_cifar", num_classes=10, channels_last=True)
method = dict(
    type="Distillation",
    teacher=dict(config="configs/cls/r8_cifar10_pgd_at.py"),
    method=dict(
        type="Adversarial",
        views=("adv",),
        attack=dict(type="PGD", threat=dict(type="Linf", eps=8 / 255), steps=10, step_size=2 / 255),
        terms=[dict(type="ARD", weight=1.0, temperature=30.0, scale=1.0)],
    ),
)
