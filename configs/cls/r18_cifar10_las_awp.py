# LAS-AWP of ResNet-18 on CIFAR-10 (Jia et al. 2022): LAS with stronger options and a lesson in every step, its images
# brought back to 8/255, at adversarially perturbed weights.
# Command: python tools/train.py configs/cls/r18_cifar10_las_awp.py
# Cost: at most 61 forwards and 56 backwards per image and step, more than half of it for the lessons of the strategy.
# Paper's number: none for ResNet-18 (wrn34_10_cifar10_las_awp.py has one).
# Options, rewards, rates and schedule are the original's (LAS_AWP_train_cifar10.py and its README).
_base_ = ["../_base_/runtime.py", "../_base_/cifar10.py", "../_base_/awp_schedule.py"]
task = dict(type="ClassificationTask", model="resnet18_cifar", num_classes=10, channels_last=True)
data = dict(batch_size=128)
method = dict(
    type="AWP",
    gamma=0.01,
    method=dict(
        type="LAS",
        strategy=dict(type="ClassificationTask", model="resnet18_cifar", channels_last=True),
        eps=[e / 255 for e in range(7, 16)],
        steps=list(range(8, 17)),
        step_size=[s / 255 for s in range(2, 6)],
        clip=8 / 255,
        interval=1,
        reward=(1.0, 1.0, 1.0),
        lr=[(0, 1e-4), (100, 1e-5), (150, 1e-6)],
        copy_lr=[(0, 0.1), (100, 0.01), (150, 0.001)],
    ),
)
