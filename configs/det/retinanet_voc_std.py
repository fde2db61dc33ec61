# Undefended RetinaNet on Pascal VOC: clean images only.
# Command: python tools/train.py configs/det/retinanet_voc_std.py
# Cost: 1 forward and 1 backward per image and step. Paper's number: none (Table 13 is SSD300).
_base_ = [
    "../_base_/det_runtime.py",
    "../_base_/voc_keep_ratio.py",
    "../_base_/retinanet_r50.py",
    "../_base_/voc_1x_schedule.py",
]
method = dict(type="Standard")
