# r18_cifar10_fast_nat.py in half of its epochs.
# Command: python tools/train.py configs/cls/r18_cifar10_fast_nat_15e.py
# (Trains the adversary r18_cifar10_fast_vt.py first, once.)
# Cost: 5 forwards and 3 backwards per image and step, 10 units; 15 epochs.
# Measured: 6.7 hours for 15 epochs, by a step's time on 1 thread of an AMD EPYC in bfloat16.
# Paper's number: none.
_base_ = ["r18_cifar10_fast_nat.py"]
param_scheduler = [
    dict(type="LinearLR", start_factor=0.04, end_factor=1.0, begin=0, end=5, by_epoch=True, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", T_max=10, eta_min=1e-5, begin=5, end=15, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=15)
