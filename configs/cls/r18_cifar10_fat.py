# Friendly adversarial training of ResNet-18 on CIFAR-10 (Zhang et al. 2020): PGD that stops soon after an image is
# misclassified, at first at once, later one and two steps after.
# Command: python tools/train.py configs/cls/r18_cifar10_fat.py
# Cost: at most 11 forwards and 11 backwards per image and step: an image that stops early costs less.
# Paper's number (Table 2): clean 87.32, PGD-20 43.53, C&W 43.50, AA 40.76.
# Schedule, eps, step, noise and the schedule of tau are the original's (FAT.py); unlike there, the network normalises
# its inputs.
_base_ = [
    "../_base_/models/resnet18_cifar.py",
    "../_base_/datasets/cifar10.py",
    "../_base_/schedules/fat_120e.py",
    "../_base_/methods/fat.py",
    "../_base_/default_runtime.py",
]
data = dict(batch_size=128)
method = dict(attack=dict(threat=dict(eps=0.031), step_size=0.007))
