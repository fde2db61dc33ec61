# PGD adversarial training of ResNet-50 on CIFAR-10: the surrogate on which Table 5's transfer attacks are crafted;
# trained as r18_cifar10_pgd_at.py.
# Command: python tools/train.py configs/cls/r50_cifar10_pgd_at.py
# Cost: 11 forwards and 11 backwards per image and step.
# Paper's number: none for the surrogate itself.
_base_ = ["r18_cifar10_pgd_at.py"]
task = dict(model="resnet50_cifar")
