# NAT (Eq. 5) of ResNet-8 on 6,000 CIFAR-10 images, for CPUs, with the weight as printed in Sec. 4.1.
# Command: python tools/train.py configs/cls/r8_cifar10_nat_w0006.py
# Cost: 14 forwards and 12 backwards per image and step, about 15 minutes on one CPU thread.
# Paper's number: none (the small version of Table 2 for CPUs); results/cifar10_small.md has ours.
_base_ = ["r8_cifar10_nat.py"]
method = dict(terms=[_base_.method.terms[0], dict(_base_.method.terms[1], weight=0.006)])
