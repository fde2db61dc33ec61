# Vanilla training of WRN-28-10 on CIFAR-10 in 30 epochs: the adversary of wrn28_10_cifar10_fast_nat.py.
# Command: python tools/train.py configs/cls/wrn28_10_cifar10_fast_vt.py
# Cost: 1 forward and 1 backward per image and step, 3 units; 30 epochs.
# Measured: 35 hours for 30 epochs, by a step's time on 1 thread of an AMD EPYC in bfloat16.
# Paper's number: none.
_base_ = ["wrn28_10_cifar10_fast_at.py"]
method = dict(_delete_=True, type="Standard")
select = dict(_delete_=True)
