# ARD (adversarially robust distillation, Goldblum et al. 2020): ResNet-18 from a WRN-34-10 trained by
# PGD-AT, on CIFAR-10.
# Command: python tools/train.py configs/cls/r18_cifar10_ard_at.py
# (Trains the teacher wrn34_10_cifar10_pgd_at.py first, once; method.teacher.checkpoint=FILE takes trained weights.)
# Cost: 12 forwards and 11 backwards per image and step (one forward of the teacher, a WRN-34-10, included).
# Paper's number (Table 10, from an AT teacher): clean 79.43, PGD-20 38.21, C&W 36.61, AA 34.12.
# The paper gives no temperature, share or teacher checkpoint: they are the authors' (1, 30, their KL divided by the
# number of classes), the teacher's weights are its best epoch's. As there, batch norm is in train mode in the attack.
_base_ = [
    "../_base_/models/resnet18_cifar.py",
    "../_base_/datasets/cifar10.py",
    "../_base_/schedules/ard_200e.py",
    "../_base_/methods/ard.py",
    "../_base_/default_runtime.py",
]
data = dict(batch_size=128)
method = dict(
    teacher=dict(config="configs/cls/wrn34_10_cifar10_pgd_at.py"),
    method=dict(attack=dict(bn_mode="train")),
)
