# LAS-PGD-AT of ResNet-8 on 6,000 CIFAR-10 images with a ResNet-8 as the strategy, for CPUs: data and epochs of
# r8_cifar10_pgd_at.py. The strategy's rate is 50 times the original's, because it gets a fiftieth of its lessons.
# Command: python tools/train.py configs/cls/r8_cifar10_las_pgd_at.py
# Cost: at most 18 forwards and 17 backwards per image and step, about 20 minutes on one CPU thread.
# Paper's number: none (the small version of Table 2 for CPUs).
_base_ = ["r8_cifar10_pgd_at.py"]
task = dict(label_smoothing=1 / 3)
method = dict(
    _delete_=True,
    type="LAS",
    strategy=dict(type="ClassificationTask", model="resnet8_cifar", channels_last=True),
    eps=[e / 255 for e in range(3, 16)],
    steps=list(range(3, 15)),
    step_size=[s / 255 for s in range(1, 6)],
    interval=20,
    reward=(1.0, 4.0, 2.0),
    lr=5e-3,
    copy_lr=0.05,
)
