# PGD-10 adversarial training of ResNet-20 on CIFAR-10, for CPUs: what the single-step forms are held against.
# Command: python tools/train.py configs/cls/r20_cifar10_pgd_at.py
# Cost: 11 forwards and 11 backwards per image and step, 23 units; 15 epochs.
# Measured: 1.6 hours for 15 epochs, by a step's time on 1 thread of an AMD EPYC in bfloat16.
# Measured: Clean (10,000) 47.17, PGD-20 (10,000) 29.96, AA (500) 27.20 % after 3 epochs, one seed
#    (results/cifar10_full.md).
# Paper's number: none for this model.
_base_ = [
    "../_base_/models/resnet20_cifar.py",
    "../_base_/datasets/cifar10.py",
    "../_base_/schedules/cyclic_15e.py",
    "../_base_/methods/pgd_at.py",
    "../_base_/default_runtime.py",
]
data = dict(batch_size=128)
