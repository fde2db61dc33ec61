# Undefended RetinaNet on Pascal VOC: clean images only.
# Command: python tools/train.py configs/det/retinanet_voc_std.py
# Cost: 1 forward and 1 backward per image and step. Paper's number: none (Table 13 is SSD300).
_base_ = [
    "../_base_/models/retinanet_r50_fpn.py",
    "../_base_/datasets/voc0712_short600.py",
    "../_base_/schedules/voc_1x.py",
    "../_base_/det_runtime.py",
]
method = dict(type="Standard")
