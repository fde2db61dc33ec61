# RSLAD (robust soft label adversarial distillation, Zi et al. 2021): ResNet-18 from a WRN-34-10 trained by
# PGD-AT, on CIFAR-10.
# Command: python tools/train.py configs/cls/r18_cifar10_rslad_at.py
# (Trains the teacher wrn34_10_cifar10_pgd_at.py first, once; method.teacher.checkpoint=FILE takes trained weights.)
# Cost: 13 forwards and 12 backwards per image and step (one forward of the teacher, a WRN-34-10, included).
# Paper's number (Table 10, from an AT teacher): clean 89.23, PGD-20 50.19, C&W 47.15, AA 45.77.
# The paper gives no setting: all are the authors'. No labels enter; the teacher's weights are its best epoch's.
_base_ = [
    "../_base_/models/resnet18_cifar.py",
    "../_base_/datasets/cifar10.py",
    "../_base_/schedules/rslad_300e.py",
    "../_base_/methods/rslad.py",
    "../_base_/default_runtime.py",
]
data = dict(batch_size=128)
method = dict(teacher=dict(config="configs/cls/wrn34_10_cifar10_pgd_at.py"))
