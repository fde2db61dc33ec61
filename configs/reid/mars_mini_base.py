# Undefended person re-identification on a 16-identity part of MARS in Market's layout, OSNet-x0.25: identity and
# triplet loss on clean images (BoT).
# Command: python tools/train.py configs/reid/mars_mini_base.py
# Cost: 1 forward and 1 backward per image and step. Paper's number: none (the paper does not use MARS).
_base_ = ["../_base_/reid_runtime.py", "../_base_/mars_mini.py", "../_base_/mars_mini_schedule.py"]
method = dict(type="Standard")
