# PGD adversarial training of ResNet-18 on CIFAR-10, clean and adversarial images (Eq. 5 without the nasty term): the
# fair baseline of r18_cifar10_nat.py, which adds that term alone.
# Command: python tools/train.py configs/cls/r18_cifar10_pgd_at_union.py
# Cost: 12 forwards and 12 backwards per image and step.
# Paper's number: none (Table 2 has PGD-AT on adversarial images alone).
_base_ = [
    "../_base_/models/resnet18_cifar.py",
    "../_base_/datasets/cifar10.py",
    "../_base_/schedules/paper_300e.py",
    "../_base_/methods/pgd_at_union.py",
    "../_base_/default_runtime.py",
]
