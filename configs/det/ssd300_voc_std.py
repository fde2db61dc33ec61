# Undefended SSD300 on Pascal VOC: clean images only.
# Command: python tools/train.py configs/det/ssd300_voc_std.py
# Cost: 1 forward and 1 backward per image and step. Paper's number: 72.1 clean, 1.5 under loss_cls, 0.0 under loss_loc
# (mAP, Table 13, Standard).
_base_ = [
    "../_base_/det_runtime.py",
    "../_base_/voc.py",
    "../_base_/ssd300.py",
    "../_base_/ssd300_schedule.py",
]
method = dict(type="Standard")
paper_row = "Standard"
