# PGD adversarial training of WRN-34-10 on CIFAR-100, clean and adversarial images (Eq. 5 without the nasty term): the
# fair baseline of wrn34_10_cifar100_nat.py, which adds that term alone.
# Command: python tools/train.py configs/cls/wrn34_10_cifar100_pgd_at_union.py
# Cost: 12 forwards and 12 backwards per image and step.
# Paper's number: none (Table 1 has PGD-AT on adversarial images alone).
_base_ = [
    "../_base_/models/wrn34_10_cifar.py",
    "../_base_/datasets/cifar100.py",
    "../_base_/schedules/paper_300e.py",
    "../_base_/methods/pgd_at_union.py",
    "../_base_/default_runtime.py",
]
task = dict(num_classes=100)
