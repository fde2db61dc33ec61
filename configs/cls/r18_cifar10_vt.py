# Vanilla training of ResNet-18 on CIFAR-10: the adversary of r18_cifar10_nat.py, with Nasty-Teacher's schedule.
# Command: python tools/train.py configs/cls/r18_cifar10_vt.py
# Cost: 1 forward and 1 backward per image and step; the paper reports about 15.3 s an epoch on an RTX 4090 (Table 9).
# Paper's number (Table 11): clean 95.03, PGD-10 11.72, AA 7.81; a correct pipeline gives 0 for the last two.
_base_ = [
    "../_base_/models/resnet18_cifar.py",
    "../_base_/datasets/cifar10.py",
    "../_base_/schedules/nasty_teacher_160e.py",
    "../_base_/default_runtime.py",
]
method = dict(type="Standard")
data = dict(batch_size=128)
select = dict(_delete_=True)
