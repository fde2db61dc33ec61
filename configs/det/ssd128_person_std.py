# Undefended small SSD on the people of a few real photographs, from random weights: clean images only.
# Command: python tools/train.py configs/det/ssd128_person_std.py
# Cost: 1 forward and 1 backward per image and step. Paper's number: none (Table 13 has all of VOC and SSD300).
_base_ = [
    "../_base_/models/ssd128_r18d.py",
    "../_base_/datasets/photos_person128.py",
    "../_base_/schedules/det_adamw_70e.py",
    "../_base_/det_runtime.py",
]
method = dict(type="Standard")
