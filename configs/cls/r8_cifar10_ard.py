# ARD (adversarially robust distillation) of ResNet-8 from a ResNet-8 trained by PGD-AT, on 6,000 CIFAR-10
# images, for CPUs.
# Command: python tools/train.py configs/cls/r8_cifar10_ard.py
# (Trains the teacher r8_cifar10_pgd_at.py first, once.)
# Cost: 12 forwards and 11 backwards per image and step, about 15 minutes on one CPU thread.
# Paper's number: none (the small version of Table 10 for CPUs).
# The KL is the batchmean, C times the authors', whose factor suits their 200 epochs and slows a short training down.
_base_ = [
    "../_base_/models/resnet8_cifar.py",
    "../_base_/datasets/cifar10_6k.py",
    "../_base_/schedules/sgd_cosine_10e.py",
    "../_base_/methods/ard.py",
    "../_base_/default_runtime.py",
]
method = dict(
    teacher=dict(config="configs/cls/r8_cifar10_pgd_at.py"),
    method=dict(terms=[dict(type="ARD", weight=1.0, temperature=30.0, scale=1.0)]),
)
