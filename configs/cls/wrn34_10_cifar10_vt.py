# Vanilla training of WRN-34-10 on CIFAR-10: the adversary of wrn34_10_cifar10_nat.py, with Nasty-Teacher's schedule.
# Command: python tools/train.py configs/cls/wrn34_10_cifar10_vt.py
# Cost: 1 forward and 1 backward per image and step; the paper reports about 90.2 s an epoch on an RTX 4090 (Table 9).
# Paper's number: none for this row (expect robust accuracy 0).
_base_ = ["../_base_/runtime.py", "../_base_/cifar10.py", "../_base_/nasty_schedule.py"]
task = dict(type="ClassificationTask", model="wrn_34_10", num_classes=10, channels_last=True)
method = dict(type="Standard")
data = dict(batch_size=128)
select = dict(_delete_=True)
