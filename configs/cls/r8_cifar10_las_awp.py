# LAS-AWP of ResNet-8 on 6,000 CIFAR-10 images with a ResNet-8 as the strategy, for CPUs: data, epochs and eps of
# r8_cifar10_pgd_at.py, and a lesson every ten steps instead of in each.
# Command: python tools/train.py configs/cls/r8_cifar10_las_awp.py
# Cost: at most 24 forwards and 22 backwards per image and step, about 25 minutes on one CPU thread.
# Paper's number: none (the small version of Table 1 for CPUs).
_base_ = ["r8_cifar10_pgd_at.py"]
method = dict(
    _delete_=True,
    type="AWP",
    gamma=0.01,
    method=dict(
        type="LAS",
        strategy=dict(type="ClassificationTask", model="resnet8_cifar", channels_last=True),
        eps=[e / 255 for e in range(7, 16)],
        steps=list(range(8, 17)),
        step_size=[s / 255 for s in range(2, 6)],
        clip=8 / 255,
        interval=10,
        reward=(1.0, 1.0, 1.0),
        lr=5e-3,
        copy_lr=0.05,
    ),
)
