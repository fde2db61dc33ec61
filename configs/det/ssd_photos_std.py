# Undefended small SSD on a few real photographs: clean images only.
# Command: python tools/train.py configs/det/ssd_photos_std.py
# Cost: 1 forward and 1 backward per image and step, 100 epochs of 10 steps. Paper's number: none (Table 13 has all of
# VOC and SSD300).
_base_ = [
    "../_base_/models/ssd160_r18.py",
    "../_base_/datasets/photos_voc.py",
    "../_base_/schedules/det_small_100e.py",
    "../_base_/det_runtime.py",
]
task = dict(num_classes=20, model=dict(bbox_head=dict(num_classes=20)))
method = dict(type="Standard")
