# MART of WRN-34-10 on CIFAR-10 (Wang et al. 2020), with the original's schedule for it (train_wideresnet.py).
# Command: python tools/train.py configs/cls/wrn34_10_cifar10_mart.py
# Cost: 12 forwards and 12 backwards per image and step.
# Paper's number: none (Table 1 has no MART).
# A later version of that script has 76 epochs and a weight decay of 2e-4, which is TRADES' schedule.
_base_ = [
    "../_base_/models/wrn34_10_cifar.py",
    "../_base_/datasets/cifar10.py",
    "../_base_/schedules/mart_wrn_90e.py",
    "../_base_/methods/mart.py",
    "../_base_/default_runtime.py",
]
data = dict(batch_size=128)
method = dict(
    attack=dict(threat=dict(eps=0.031), step_size=0.007),
    terms=[dict(type="MART", weight=6.0)],
)
