# Single-step NAT of ResNet-20 on CIFAR-10, for CPUs, with two and a half times the weight of its ablation.
# Command: python tools/train.py configs/cls/r20_cifar10_fast_nat_w015.py
# (Trains the adversary r20_cifar10_vt.py first, once.)
# Cost: 5 forwards and 3 backwards per image and step, 10 units; 15 epochs.
# Measured: 0.72 hours for 15 epochs, by a step's time on 1 thread of an AMD EPYC in bfloat16.
# Measured: Clean (10,000) 65.81 ± 1.68, PGD-20 (10,000) 29.72 ± 0.69, AA (500) 28.00 ± 0.85 % after 8 epochs, 2 seeds
#    (results/cifar10_full.md).
# Paper's number: none for this model.
_base_ = ["r20_cifar10_fast_nat.py"]
method = dict(terms=[_base_.method.terms[0], dict(_base_.method.terms[1], weight=0.15)])
