# Undefended small SSD on pasted digits: clean images only.
# Command: python tools/train.py configs/det/ssd_digits_std.py
# Cost: 1 forward and 1 backward per image and step. Paper's number: none (the set is natx's own).
_base_ = [
    "../_base_/models/ssd160_r18.py",
    "../_base_/datasets/digits_voc.py",
    "../_base_/schedules/det_small_30e.py",
    "../_base_/det_runtime.py",
]
method = dict(type="Standard")
