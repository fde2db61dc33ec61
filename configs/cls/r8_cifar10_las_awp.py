# LAS-AWP of ResNet-8 on 6,000 CIFAR-10 images with a ResNet-8 as the strategy, for CPUs: data, epochs and eps of
# r8_cifar10_pgd_at.py, and a lesson every ten steps instead of in each.
# Command: python tools/train.py configs/cls/r8_cifar10_las_awp.py
# Cost: at most 24 forwards and 22 backwards per image and step, about 25 minutes on one CPU thread.
# Paper's number: none (the small version of Table 1 for CPUs).
_base_ = [
    "../_base_/models/resnet8_cifar.py",
    "../_base_/datasets/cifar10_6k.py",
    "../_base_/schedules/sgd_cosine_10e.py",
    "../_base_/methods/las_awp.py",
    "../_base_/default_runtime.py",
]
method = dict(method=dict(strategy=dict(model="resnet8_cifar"), interval=10, lr=5e-3, copy_lr=0.05))
