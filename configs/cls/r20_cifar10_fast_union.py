# Single-step adversarial training (N-FGSM) of ResNet-20 on CIFAR-10, on clean and adversarial images: the fair baseline
# of r20_cifar10_fast_nat.py.
# Command: python tools/train.py configs/cls/r20_cifar10_fast_union.py
# Cost: 3 forwards and 3 backwards per image and step, 8 units; 15 epochs.
# Measured: 0.59 hours for 15 epochs, by a step's time on 1 thread of an AMD EPYC in bfloat16.
# Measured: Clean (10,000) 70.90 ± 0.37, PGD-20 (10,000) 29.59 ± 0.38, AA (500) 28.73 ± 0.92, APGD-CE (2,000) 28.65 (1
#    of 3 seeds), APGD-T (2,000) 25.80 (1 of 3 seeds) % after 8 epochs, 3 seeds (results/cifar10_full.md).
# Paper's number: none for this model.
_base_ = [
    "../_base_/models/resnet20_cifar.py",
    "../_base_/datasets/cifar10.py",
    "../_base_/schedules/cyclic_15e.py",
    "../_base_/methods/n_fgsm_union.py",
    "../_base_/default_runtime.py",
]
data = dict(batch_size=128)
