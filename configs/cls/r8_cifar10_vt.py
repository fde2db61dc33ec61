# Vanilla training of ResNet-8 on 6,000 CIFAR-10 images, for CPUs: the adversary of r8_cifar10_nat.py.
# Command: python tools/train.py configs/cls/r8_cifar10_vt.py
# Cost: 1 forward and 1 backward per image and step, about a minute on one CPU thread.
# Paper's number: none (the small version of Table 2 for CPUs); results/cifar10_small.md has ours.
_base_ = [
    "../_base_/models/resnet8_cifar.py",
    "../_base_/datasets/cifar10_6k.py",
    "../_base_/schedules/sgd_cosine_10e.py",
    "../_base_/default_runtime.py",
]
method = dict(type="Standard")
select = dict(_delete_=True, every=2)
