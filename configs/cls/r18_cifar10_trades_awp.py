# TRADES-AWP of ResNet-18 on CIFAR-10 (Wu et al. 2020): TRADES at adversarially perturbed weights, after nine epochs.
# Command: python tools/train.py configs/cls/r18_cifar10_trades_awp.py
# Cost: 15 forwards and 14 backwards per image and step.
# Paper's number: none for ResNet-18 (wrn34_10_cifar10_trades_awp.py has one).
# Schedule, gamma, eps and warm-up are the original's (trades_AWP/train_trades_cifar.py), which counts epochs from 1.
_base_ = ["../_base_/runtime.py", "../_base_/cifar10.py", "../_base_/awp_schedule.py"]
task = dict(type="ClassificationTask", model="resnet18_cifar", num_classes=10, channels_last=True)
data = dict(batch_size=128)
param_scheduler = [dict(type="MultiStepLR", milestones=[99, 149], gamma=0.1, by_epoch=True)]
method = dict(
    type="AWP",
    gamma=0.005,
    warmup=9,
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
