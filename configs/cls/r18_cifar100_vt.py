# Vanilla training of ResNet-18 on CIFAR-100: the adversary of r18_cifar100_nat.py, with Nasty-Teacher's schedule.
# Command: python tools/train.py configs/cls/r18_cifar100_vt.py
# Cost: 1 forward and 1 backward per image and step; the paper reports about 15.7 s an epoch on an RTX 4090 (Table 9).
# Paper's number: none for this row (expect robust accuracy 0).
_base_ = ["../_base_/runtime.py", "../_base_/cifar100.py", "../_base_/nasty_schedule_cifar100.py"]
task = dict(type="ClassificationTask", model="resnet18_cifar", num_classes=100, channels_last=True)
method = dict(type="Standard")
data = dict(batch_size=128)
select = dict(_delete_=True)
