# CAS of ResNet-18 on CIFAR-10 (Bai et al. 2021): PGD adversarial training of a network that weighs the channels of its
# last two blocks by class; attack and training climb and descend the auxiliary losses too.
# Command: python tools/train.py configs/cls/r18_cifar10_cas.py
# Cost: 11 forwards and 11 backwards per image and step.
# Paper's number (Table 2): clean 86.24, PGD-20 51.49, C&W 53.66, AA 46.69; tasks/cls/cas.py says why the gap between
# the first attacks and AA is no surprise.
# Schedule, attack and weight are the original's (Standard_Adv_Training/train.py); unlike there, the network normalises
# its inputs.
_base_ = [
    "../_base_/models/resnet18_cifar.py",
    "../_base_/datasets/cifar10.py",
    "../_base_/schedules/cas_200e.py",
    "../_base_/methods/cas.py",
    "../_base_/default_runtime.py",
]
task = dict(type="CASTask", aux_weight=2.0)
data = dict(batch_size=128)
