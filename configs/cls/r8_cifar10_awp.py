# AT-AWP of ResNet-8 on 6,000 CIFAR-10 images, for CPUs: r8_cifar10_pgd_at.py at adversarially perturbed weights.
# Command: python tools/train.py configs/cls/r8_cifar10_awp.py
# Cost: 12 forwards and 12 backwards per image and step, about 20 minutes on one CPU thread.
# Paper's number: none (the small version of Table 2 for CPUs).
_base_ = ["r8_cifar10_pgd_at.py"]
method = dict(
    _delete_=True,
    type="AWP",
    gamma=0.01,
    method=dict(
        type="Adversarial",
        views=("adv",),
        attack=dict(type="PGD", threat=dict(type="Linf", eps=8 / 255), steps=10, step_size=2 / 255),
    ),
)
