# TRADES of ResNet-18 on CIFAR-10 (Zhang et al. 2019): clean cross-entropy and 6 times the KL between the predictions
# on clean and adversarial images, which the inner attack climbs too.
# Command: python tools/train.py configs/cls/r18_cifar10_trades.py
# Cost: 13 forwards and 12 backwards per image and step.
# Paper's number (Table 2): clean 83.64, PGD-20 50.67, C&W 49.68, AA 48.41.
# The schedule, eps, step and start are the original's (train_trades_cifar10.py), as are separate forwards of the two
# views; unlike there, the network normalises its inputs.
_base_ = ["../_base_/runtime.py", "../_base_/cifar10.py", "../_base_/trades_schedule.py"]
task = dict(type="ClassificationTask", model="resnet18_cifar", num_classes=10, channels_last=True)
data = dict(batch_size=128)
method = dict(
    type="Adversarial",
    views=("clean", "adv"),
    attack=dict(
        type="PGD",
        threat=dict(type="Linf", eps=0.031),
        steps=10,
        step_size=0.007,
        objective=dict(type="KL"),
        random_start="normal",
    ),
    terms=[dict(type="TaskLoss", on=("clean",)), dict(type="TRADES", weight=6.0)],
    joint_batch=False,
)
