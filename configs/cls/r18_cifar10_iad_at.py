# IAD-I (introspective adversarial distillation, Zhu et al. 2021): ResNet-18 from a WRN-34-10 trained by
# PGD-AT, on CIFAR-10.
# Command: python tools/train.py configs/cls/r18_cifar10_iad_at.py
# (Trains the teacher wrn34_10_cifar10_pgd_at.py first, once; method.teacher.checkpoint=FILE takes trained weights.)
# Cost: 14 forwards and 12 backwards per image and step (two forwards of the teacher, a WRN-34-10, included).
# Paper's number (Table 10, from an AT teacher): clean 74.72, PGD-20 41.91, C&W 44.41, AA 37.55.
# The paper gives no setting: they are the authors' (temperature 1, power 0.1, introspection from epoch 60), the
# teacher's weights are its best epoch's. As there, batch norm is in train mode in the attack.
_base_ = [
    "../_base_/models/resnet18_cifar.py",
    "../_base_/datasets/cifar10.py",
    "../_base_/schedules/ard_200e.py",
    "../_base_/methods/iad.py",
    "../_base_/default_runtime.py",
]
data = dict(batch_size=128)
method = dict(
    teacher=dict(config="configs/cls/wrn34_10_cifar10_pgd_at.py"),
    method=dict(attack=dict(bn_mode="train")),
)
