# MART (weight 5) of ResNet-8 on 6,000 CIFAR-10 images, for CPUs: data, epochs and eps of r8_cifar10_pgd_at.py.
# Command: python tools/train.py configs/cls/r8_cifar10_mart.py
# Cost: 12 forwards and 12 backwards per image and step, about 20 minutes on one CPU thread.
# Paper's number: none (the small version of Table 2 for CPUs).
_base_ = [
    "../_base_/models/resnet8_cifar.py",
    "../_base_/datasets/cifar10_6k.py",
    "../_base_/schedules/sgd_cosine_10e.py",
    "../_base_/methods/mart.py",
    "../_base_/default_runtime.py",
]
