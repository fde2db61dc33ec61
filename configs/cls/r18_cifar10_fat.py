# Friendly adversarial training of ResNet-18 on CIFAR-10 (Zhang et al. 2020): PGD that stops soon after an image is
# misclassified, at first at once, later one and two steps after.
# Command: python tools/train.py configs/cls/r18_cifar10_fat.py
# Cost: at most 11 forwards and 11 backwards per image and step: an image that stops early costs less.
# Paper's number (Table 2): clean 87.32, PGD-20 43.53, C&W 43.50, AA 40.76.
# Schedule, eps, step, noise and the schedule of tau are the original's (FAT.py); unlike there, the network normalises
# its inputs.
_base_ = ["../_base_/runtime.py", "../_base_/cifar10.py", "../_base_/fat_schedule.py"]
task = dict(type="ClassificationTask", model="resnet18_cifar", num_classes=10, channels_last=True)
data = dict(batch_size=128)
method = dict(
    type="Adversarial",
    views=("adv",),
    attack=dict(
        type="FriendlyPGD",
        threat=dict(type="Linf", eps=0.031),
        steps=10,
        step_size=0.007,
        tau=[(0, 0), (50, 1), (90, 2)],
        omega=0.001,
    ),
)
