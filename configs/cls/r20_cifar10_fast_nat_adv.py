# Single-step NAT of ResNet-20 on CIFAR-10 on adversarial images alone (Eq. 5 without its clean half), for CPUs.
# Command: python tools/train.py configs/cls/r20_cifar10_fast_nat_adv.py
# (Trains the adversary r20_cifar10_vt.py first, once.)
# Cost: 3 forwards and 2 backwards per image and step, 6 units; 15 epochs.
# Measured: 0.44 hours for 15 epochs, by a step's time on 1 thread of an AMD EPYC in bfloat16.
# Measured: Clean (10,000) 58.11 ± 0.98, PGD-20 (10,000) 35.13 ± 0.31, AA (500) 32.70 ± 0.42 % after 8 epochs, 2 seeds
#    (results/cifar10_full.md).
# Paper's number: none for this model.
_base_ = ["r20_cifar10_fast_nat.py"]
method = dict(views=("adv",))
