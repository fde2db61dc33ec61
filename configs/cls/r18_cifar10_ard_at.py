# ARD (adversarially robust distillation, Goldblum et al. 2020): ResNet-18 from a WRN-34-10 trained by
# PGD-AT, on CIFAR-10.
# Command: python tools/train.py configs/cls/r18_cifar10_ard_at.py
# (Trains the teacher wrn34_10_cifar10_pgd_at.py first, once; method.teacher.checkpoint=FILE takes trained weights.)
# Cost: 12 forwards and 11 backwards per image and step (one forward of the teacher, a WRN-34-10, included).
# Paper's number (Table 10, from an AT teacher): clean 79.43, PGD-20 38.21, C&W 36.61, AA 34.12.
# The paper gives no temperature, share or teacher checkpoint: they are the authors' (1, 30, their KL divided by the
# number of classes), the teacher's weights are its best epoch's. As there, batch norm is in train mode in the attack.
_base_ = ["../_base_/runtime.py", "../_base_/cifar10.py", "../_base_/ard_schedule.py"]
task = dict(type="ClassificationTask", model="resnet18_cifar", num_classes=10, channels_last=True)
data = dict(batch_size=128)
method = dict(
    type="Distillation",
    teacher=dict(config="configs/cls/wrn34_10_cifar10_pgd_at.py"),
    method=dict(
        type="Adversarial",
        views=("adv",),
        attack=dict(
            type="PGD",
            threat=dict(type="Linf", eps=8 / 255),
            steps=10,
            step_size=2 / 255,
            bn_mode="train",
        ),
        terms=[dict(type="ARD", weight=1.0, temperature=30.0)],
    ),
)
