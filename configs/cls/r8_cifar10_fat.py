# Friendly adversarial training of ResNet-8 on 6,000 CIFAR-10 images, for CPUs: data, epochs and eps of
# r8_cifar10_pgd_at.py, and the original's schedule of tau shortened to ten epochs.
# Command: python tools/train.py configs/cls/r8_cifar10_fat.py
# Cost: at most 11 forwards and 11 backwards per image and step, about 10 minutes on one CPU thread.
# Paper's number: none (the small version of Table 2 for CPUs).
_base_ = [
    "../_base_/models/resnet8_cifar.py",
    "../_base_/datasets/cifar10_6k.py",
    "../_base_/schedules/sgd_cosine_10e.py",
    "../_base_/methods/fat.py",
    "../_base_/default_runtime.py",
]
method = dict(attack=dict(tau=[(0, 0), (4, 1), (8, 2)]))
