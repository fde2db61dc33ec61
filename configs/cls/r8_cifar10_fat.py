# Friendly adversarial training of ResNet-8 on 6,000 CIFAR-10 images, for CPUs: data, epochs and eps of
# r8_cifar10_pgd_at.py, and the original's schedule of tau shortened to ten epochs.
# Command: python tools/train.py configs/cls/r8_cifar10_fat.py
# Cost: at most 11 forwards and 11 backwards per image and step, about 10 minutes on one CPU thread.
# Paper's number: none (the small version of Table 2 for CPUs).
_base_ = ["r8_cifar10_pgd_at.py"]
method = dict(attack=dict(type="FriendlyPGD", tau=[(0, 0), (4, 1), (8, 2)], omega=0.001))
