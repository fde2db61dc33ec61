# LAS-AWP of ResNet-18 on CIFAR-10 (Jia et al. 2022): LAS with stronger options and a lesson in every step, its images
# brought back to 8/255, at adversarially perturbed weights.
# Command: python tools/train.py configs/cls/r18_cifar10_las_awp.py
# Cost: at most 61 forwards and 56 backwards per image and step, more than half of it for the lessons of the strategy.
# Paper's number: none for ResNet-18 (wrn34_10_cifar10_las_awp.py has one).
# Options, rewards, rates and schedule are the original's (LAS_AWP_train_cifar10.py and its README).
_base_ = [
    "../_base_/models/resnet18_cifar.py",
    "../_base_/datasets/cifar10.py",
    "../_base_/schedules/awp_200e.py",
    "../_base_/methods/las_awp.py",
    "../_base_/default_runtime.py",
]
data = dict(batch_size=128)
