# LAS-PGD-AT (Jia et al. 2022): a second ResNet-18 chooses eps, steps and step size of the attack on each image, and
# learns from what they are worth to the target. Options, rewards and rates are the original's
# (LAS_AT_train_cifar10.py).
method = dict(
    type="LAS",
    strategy=dict(type="ClassificationTask", model="resnet18_cifar", channels_last=True),
    eps=[e / 255 for e in range(3, 16)],
    steps=list(range(3, 15)),
    step_size=[s / 255 for s in range(1, 6)],
    interval=20,
    reward=(1.0, 4.0, 2.0),
    lr=1e-4,
    copy_lr=[(0, 0.1), (99, 0.01), (104, 0.001)],
)
