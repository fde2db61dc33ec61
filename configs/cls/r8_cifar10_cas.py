# CAS of ResNet-8 (its last block) on 6,000 CIFAR-10 images, for CPUs: data, epochs and eps of r8_cifar10_pgd_at.py.
# Command: python tools/train.py configs/cls/r8_cifar10_cas.py
# Cost: 11 forwards and 11 backwards per image and step, about 15 minutes on one CPU thread.
# Paper's number: none (the small version of Table 2 for CPUs).
_base_ = ["r8_cifar10_pgd_at.py"]
task = dict(type="CASTask", aux_weight=2.0)
method = dict(attack=dict(objective=dict(type="ImageLoss")))
