# TRADES of ResNet-18 on CIFAR-10 (Zhang et al. 2019): clean cross-entropy and 6 times the KL between the predictions
# on clean and adversarial images, which the inner attack climbs too.
# Command: python tools/train.py configs/cls/r18_cifar10_trades.py
# Cost: 13 forwards and 12 backwards per image and step.
# Paper's number (Table 2): clean 83.64, PGD-20 50.67, C&W 49.68, AA 48.41.
# The schedule, eps, step and start are the original's (train_trades_cifar10.py), as are separate forwards of the two
# views; unlike there, the network normalises its inputs.
_base_ = [
    "../_base_/models/resnet18_cifar.py",
    "../_base_/datasets/cifar10.py",
    "../_base_/schedules/trades_76e.py",
    "../_base_/methods/trades.py",
    "../_base_/default_runtime.py",
]
data = dict(batch_size=128)
method = dict(attack=dict(threat=dict(eps=0.031), step_size=0.007))
