# GradAlign (Andriushchenko & Flammarion 2020) around FGSM-RS, ResNet-20 on CIFAR-10, for CPUs.
# Command: python tools/train.py configs/cls/r20_cifar10_grad_align.py
# Cost: 4 forwards and 6 backwards per image and step, 11 units; 15 epochs.
# Measured: 3.8 hours for 15 epochs, by a step's time on 1 thread of an AMD EPYC in bfloat16.
# Paper's number: none for this model.
_base_ = [
    "../_base_/models/resnet20_cifar.py",
    "../_base_/datasets/cifar10.py",
    "../_base_/schedules/cyclic_15e.py",
    "../_base_/methods/grad_align.py",
    "../_base_/default_runtime.py",
]
data = dict(batch_size=128)
