# Knowledge distillation (Hinton et al. 2015; Eq. 1) of ResNet-8 from a ResNet-8 trained by PGD-AT, on clean images:
# 6,000 of CIFAR-10, for CPUs. With --cfg-options method.teacher.config=configs/cls/r8_cifar10_nat.py (or
# r8_cifar10_nt.py) it asks whether a nasty teacher teaches.
# Command: python tools/train.py configs/cls/r8_cifar10_kd.py
# (Trains the teacher r8_cifar10_pgd_at.py first, once.)
# Cost: 2 forwards and 1 backward per image and step, about a minute on one CPU thread.
# Paper's number: none (the property that Sec. 2.1 and App. J are about, at the size of a CPU).
_base_ = [
    "../_base_/models/resnet8_cifar.py",
    "../_base_/datasets/cifar10_6k.py",
    "../_base_/schedules/sgd_cosine_10e.py",
    "../_base_/default_runtime.py",
]
method = dict(
    type="Distillation",
    teacher=dict(config="configs/cls/r8_cifar10_pgd_at.py"),
    method=dict(type="Standard", terms=[dict(type="KD", weight=0.9, temperature=4.0)]),
)
select = dict(_delete_=True, every=2)
