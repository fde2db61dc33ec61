# Undefended small Faster R-CNN on pasted digits: clean images only.
# Command: python tools/train.py configs/det/faster_rcnn_digits_std.py
# Cost: 1 forward and 1 backward per image and step. Paper's number: none (the set is natx's own).
_base_ = [
    "../_base_/det_runtime.py",
    "../_base_/digits_voc.py",
    "../_base_/faster_rcnn_small.py",
    "../_base_/ssd_small_schedule.py",
]
method = dict(type="Standard")
