# PGD adversarial training on clean and adversarial images (Eq. 5 without the nasty term) of ResNet-8, for CPUs: the
# fair baseline of r8_cifar10_nat.py.
# Command: python tools/train.py configs/cls/r8_cifar10_pgd_at_union.py
# Cost: 12 forwards and 12 backwards per image and step, about 15 minutes on one CPU thread.
# Paper's number: none (the small version of Table 2 for CPUs); results/cifar10_small.md has ours.
_base_ = [
    "../_base_/models/resnet8_cifar.py",
    "../_base_/datasets/cifar10_6k.py",
    "../_base_/schedules/sgd_cosine_10e.py",
    "../_base_/methods/pgd_at_union.py",
    "../_base_/default_runtime.py",
]
