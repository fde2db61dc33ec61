# IAD-I (introspective adversarial distillation, Zhu et al. 2021): ResNet-18 from a WRN-34-10 trained by
# PGD-AT, on CIFAR-10.
# Command: python tools/train.py configs/cls/r18_cifar10_iad_at.py
# (Trains the teacher wrn34_10_cifar10_pgd_at.py first, once; method.teacher.checkpoint=FILE takes trained weights.)
# Cost: 14 forwards and 12 backwards per image and step (two forwards of the teacher, a WRN-34-10, included).
# Paper's number (Table 10, from an AT teacher): clean 74.72, PGD-20 41.91, C&W 44.41, AA 37.55.
# The paper gives no setting: they are the authors' (temperature 1, power 0.1, introspection from epoch 60), the
# teacher's weights are its best epoch's. As there, batch norm is in train mode in the attack.
_base_ = ["../_base_/runtime.py", "../_base_/cifar10.py", "../_base_/ard_schedule.py"]
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
            bn_mode="train",
        ),
        terms=[dict(type="IAD", temperature=1.0, power=0.1, begin=60)],
        joint_batch=False,
    ),
)
