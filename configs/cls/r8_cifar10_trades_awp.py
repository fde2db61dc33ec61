# TRADES-AWP of ResNet-8 on 6,000 CIFAR-10 images, for CPUs: r8_cifar10_trades.py at adversarially perturbed weights.
# Command: python tools/train.py configs/cls/r8_cifar10_trades_awp.py
# Cost: 15 forwards and 14 backwards per image and step, about 25 minutes on one CPU thread.
# Paper's number: none (the small version for CPUs).
_base_ = ["r8_cifar10_pgd_at.py"]
method = dict(
    _delete_=True,
    type="AWP",
    gamma=0.005,
    method=dict(
        type="Adversarial",
        views=("clean", "adv"),
        attack=dict(
            type="PGD",
            threat=dict(type="Linf", eps=8 / 255),
            steps=10,
            step_size=2 / 255,
            objective=dict(type="KL"),
            random_start="normal",
        ),
        terms=[dict(type="TaskLoss", on=("clean",)), dict(type="TRADES", weight=6.0)],
        joint_batch=False,
    ),
)
