# Vanilla training of DenseNet-121 on CIFAR-10: an adversary of other architecture (Table 7), trained as
# r18_cifar10_vt.py.
# Command: python tools/train.py configs/cls/densenet121_cifar10_vt.py
# Cost: 1 forward and 1 backward per image and step.
# Paper's number: none for the adversaries themselves.
_base_ = ["r18_cifar10_vt.py"]
task = dict(model="densenet121_cifar")
