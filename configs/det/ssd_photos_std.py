# Undefended small SSD on a few real photographs: clean images only.
# Command: python tools/train.py configs/det/ssd_photos_std.py
# Cost: 1 forward and 1 backward per image and step, 100 epochs of 10 steps. Paper's number: none (Table 13 has all of
# VOC and SSD300).
_base_ = [
    "../_base_/det_runtime.py",
    "../_base_/photos_voc.py",
    "../_base_/ssd_small.py",
    "../_base_/ssd_small_schedule.py",
]
task = dict(num_classes=20, model=dict(bbox_head=dict(num_classes=20)))
method = dict(type="Standard")
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=5, by_epoch=True),
    dict(type="CosineAnnealingLR", T_max=95, begin=5, end=100, by_epoch=True),
]
train_cfg = dict(max_epochs=100)
