# Free adversarial training (Shafahi et al. 2019) of ResNet-20 on CIFAR-10, for CPUs: two epochs of eight updates a
# batch are 16 passes through the images.
# Command: python tools/train.py configs/cls/r20_cifar10_free.py
# Cost: 1 forward and 1 backward per image and step, 3 units; 2 epochs of eight updates a batch.
# Measured: 0.26 hours for 2 epochs, by a step's time on 1 thread of an AMD EPYC in bfloat16.
# Paper's number: none for this model.
_base_ = [
    "../_base_/models/resnet20_cifar.py",
    "../_base_/datasets/cifar10.py",
    "../_base_/schedules/cyclic_15e.py",
    "../_base_/methods/free.py",
    "../_base_/default_runtime.py",
]
data = dict(batch_size=128)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, end_factor=1.0, begin=0, end=1, by_epoch=True, convert_to_iter_based=True),
    dict(
        type="LinearLR", start_factor=1.0, end_factor=0.001, begin=1, end=2, by_epoch=True, convert_to_iter_based=True
    ),
]
train_cfg = dict(max_epochs=2)
