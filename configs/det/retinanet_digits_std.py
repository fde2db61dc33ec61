# Undefended small RetinaNet on pasted digits: clean images only.
# Command: python tools/train.py configs/det/retinanet_digits_std.py
# Cost: 1 forward and 1 backward per image and step. Paper's number: none (the set is natx's own).
_base_ = [
    "../_base_/models/retinanet_r18_fpn.py",
    "../_base_/datasets/digits_voc.py",
    "../_base_/schedules/det_small_30e.py",
    "../_base_/det_runtime.py",
]
method = dict(type="Standard")
