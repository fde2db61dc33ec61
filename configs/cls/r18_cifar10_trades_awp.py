# TRADES-AWP of ResNet-18 on CIFAR-10 (Wu et al. 2020): TRADES at adversarially perturbed weights, after nine epochs.
# Command: python tools/train.py configs/cls/r18_cifar10_trades_awp.py
# Cost: 15 forwards and 14 backwards per image and step.
# Paper's number: none for ResNet-18 (wrn34_10_cifar10_trades_awp.py has one).
# Schedule, gamma, eps and warm-up are the original's (trades_AWP/train_trades_cifar.py), which counts epochs from 1.
_base_ = [
    "../_base_/models/resnet18_cifar.py",
    "../_base_/datasets/cifar10.py",
    "../_base_/schedules/trades_awp_200e.py",
    "../_base_/methods/trades_awp.py",
    "../_base_/default_runtime.py",
]
data = dict(batch_size=128)
method = dict(warmup=9)
