# Single-step adversarial training (N-FGSM) of ResNet-20 on CIFAR-10, adversarial images alone; for CPUs.
# Command: python tools/train.py configs/cls/r20_cifar10_fast_at.py
# Cost: 2 forwards and 2 backwards per image and step, 5 units; 15 epochs.
# Measured: 0.39 hours for 15 epochs, by a step's time on 1 thread of an AMD EPYC in bfloat16.
# Measured: Clean (10,000) 59.12 ± 0.68, PGD-20 (10,000) 34.91 ± 0.88, AA (500) 32.30 ± 0.14 % after 8 epochs, 2 seeds
#    (results/cifar10_full.md).
# Paper's number: none for this model.
_base_ = [
    "../_base_/models/resnet20_cifar.py",
    "../_base_/datasets/cifar10.py",
    "../_base_/schedules/cyclic_15e.py",
    "../_base_/methods/n_fgsm.py",
    "../_base_/default_runtime.py",
]
data = dict(batch_size=128)
