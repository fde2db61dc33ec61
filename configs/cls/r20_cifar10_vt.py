# Vanilla training of ResNet-20 on CIFAR-10: the adversary of r20_cifar10_fast_nat.py.
# Command: python tools/train.py configs/cls/r20_cifar10_vt.py
# Cost: 1 forward and 1 backward per image and step, 3 units; 15 epochs.
# Measured: 0.22 hours for 15 epochs, by a step's time on 1 thread of an AMD EPYC in bfloat16.
# Measured: Clean (10,000) 82.00 ± 0.51, PGD-20 (10,000) 0.00 ± 0.00, AA (500) 0.00 ± 0.00 % after 8 epochs, 2 seeds
#    (results/cifar10_full.md).
# Paper's number: none for this model.
_base_ = [
    "../_base_/models/resnet20_cifar.py",
    "../_base_/datasets/cifar10.py",
    "../_base_/schedules/cyclic_15e.py",
    "../_base_/default_runtime.py",
]
data = dict(batch_size=128)
method = dict(type="Standard")
select = dict(_delete_=True)
