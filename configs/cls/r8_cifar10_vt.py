# Vanilla training of ResNet-8 on 6,000 CIFAR-10 images, for CPUs: the adversary of r8_cifar10_nat.py.
# Command: python tools/train.py configs/cls/r8_cifar10_vt.py
# Cost: 1 forward and 1 backward per image and step, about a minute on one CPU thread.
# Paper's number: none (the small version of Table 2 for CPUs); results/cifar10_small.md has ours.
_base_ = ["../_base_/runtime.py", "../_base_/cifar10_small.py"]
task = dict(type="ClassificationTask", model="resnet8_cifar", num_classes=10, channels_last=True)
method = dict(type="Standard")
select = dict(_delete_=True, every=2)
