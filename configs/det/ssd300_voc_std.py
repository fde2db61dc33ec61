# Undefended SSD300 on Pascal VOC: clean images only.
# Command: python tools/train.py configs/det/ssd300_voc_std.py
# Cost: 1 forward and 1 backward per image and step. Paper's number: 72.1 clean, 1.5 under loss_cls, 0.0 under loss_loc
# (mAP, Table 13, Standard).
_base_ = [
    "../_base_/models/ssd300_vgg16.py",
    "../_base_/datasets/voc0712_300x300.py",
    "../_base_/schedules/ssd300_232e.py",
    "../_base_/det_runtime.py",
]
method = dict(type="Standard")
paper_row = "Standard"
