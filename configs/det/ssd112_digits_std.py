# Undefended small SSD on large pasted digits, from random weights: clean images only.
# Command: python tools/train.py configs/det/ssd112_digits_std.py
# Cost: 1 forward and 1 backward per image and step. Paper's number: none (the set is natx's own).
_base_ = [
    "../_base_/models/ssd112_r18d.py",
    "../_base_/datasets/digits_voc112.py",
    "../_base_/schedules/det_adamw_30e.py",
    "../_base_/det_runtime.py",
]
method = dict(type="Standard")
