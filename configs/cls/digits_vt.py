# Vanilla training on the digits; the adversary of digits_nat.py.
# Command: python tools/train.py configs/cls/digits_vt.py
# Cost: a few seconds on one CPU thread. Paper's number: none (the paper does not use the digits).
_base_ = ["../_base_/runtime.py", "../_base_/digits.py", "../_base_/digits_schedule.py"]
method = dict(type="Standard")
