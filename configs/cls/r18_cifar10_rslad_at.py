# RSLAD (robust soft label adversarial distillation, Zi et al. 2021): ResNet-18 from a WRN-34-10 trained by
# PGD-AT, on CIFAR-10.
# Command: python tools/train.py configs/cls/r18_cifar10_rslad_at.py
# (Trains the teacher wrn34_10_cifar10_pgd_at.py first, once; method.teacher.checkpoint=FILE takes trained weights.)
# Cost: 13 forwards and 12 backwards per image and step (one forward of the teacher, a WRN-34-10, included).
# Paper's number (Table 10, from an AT teacher): clean 89.23, PGD-20 50.19, C&W 47.15, AA 45.77.
# The paper gives no setting: all are the authors'. No labels enter; the teacher's weights are its best epoch's.
_base_ = ["../_base_/runtime.py", "../_base_/cifar10.py", "../_base_/rslad_schedule.py"]
task = dict(type="ClassificationTask", model="resnet18_cifar", num_classes=10, channels_last=True)
data = dict(batch_size=128)
method = dict(
    type="Distillation",
    teacher=dict(config="configs/cls/wrn34_10_cifar10_pgd_at.py"),
    method=dict(
        type="Adversarial",
        views=("clean", "adv"),
        attack=dict(
            type="PGD",
            threat=dict(type="Linf", eps=8 / 255),
            steps=10,
            step_size=2 / 255,
            objective=dict(type="TeacherKL"),
            random_start="normal",
        ),
        terms=[dict(type="RSLAD")],
        joint_batch=False,
    ),
)
