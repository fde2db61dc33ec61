# Vanilla training of ResNet-18 on CIFAR-100: the adversary of r18_cifar100_nat.py, with Nasty-Teacher's schedule.
# Command: python tools/train.py configs/cls/r18_cifar100_vt.py
# Cost: 1 forward and 1 backward per image and step; the paper reports about 15.7 s an epoch on an RTX 4090 (Table 9).
# Paper's number: none for this row (expect robust accuracy 0).
_base_ = [
    "../_base_/models/resnet18_cifar.py",
    "../_base_/datasets/cifar100.py",
    "../_base_/schedules/nasty_teacher_200e.py",
    "../_base_/default_runtime.py",
]
task = dict(num_classes=100)
method = dict(type="Standard")
data = dict(batch_size=128)
select = dict(_delete_=True)
