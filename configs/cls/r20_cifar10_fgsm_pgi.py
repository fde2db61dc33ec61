# FGSM with prior-guided initialisation (Jia et al. 2022) of ResNet-20 on CIFAR-10, for CPUs.
# Command: python tools/train.py configs/cls/r20_cifar10_fgsm_pgi.py
# Cost: 3 forwards and 3 backwards per image and step, 7 units; 1.2 GB for perturbations and momentum; 15 epochs.
# Measured: 0.6 hours for 15 epochs, by a step's time on 1 thread of an AMD EPYC in bfloat16.
# Paper's number: none for this model.
_base_ = [
    "../_base_/models/resnet20_cifar.py",
    "../_base_/datasets/cifar10.py",
    "../_base_/schedules/cyclic_15e.py",
    "../_base_/methods/fgsm_pgi.py",
    "../_base_/default_runtime.py",
]
data = dict(batch_size=128)
task = dict(label_smoothing=4 / 9)  # 0.6 on the true class, 0.4/9 on each other one
