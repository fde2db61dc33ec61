# PGD adversarial training of a small plain CNN (three convolutions) on 6,000 CIFAR-10 images, for CPUs: the surrogate
# of the small version of Table 5, of another architecture than its targets; trained as r8_cifar10_pgd_at.py.
# Command: python tools/train.py configs/cls/cnn_cifar10_pgd_at.py
# Cost: 11 forwards and 11 backwards per image and step.
# Paper's number: none (the surrogate of the small version of Table 5 for CPUs).
_base_ = ["r8_cifar10_pgd_at.py"]
task = dict(model="small_cnn")
