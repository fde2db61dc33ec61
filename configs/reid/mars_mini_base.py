# Undefended person re-identification on a 16-identity part of MARS in Market's layout, OSNet-x0.25: identity and
# triplet loss on clean images (BoT).
# Command: python tools/train.py configs/reid/mars_mini_base.py
# Cost: 1 forward and 1 backward per image and step. Paper's number: none (the paper does not use MARS).
_base_ = [
    "../_base_/models/osnet_x0_25_mars_mini.py",
    "../_base_/datasets/mars_mini.py",
    "../_base_/schedules/mars_mini_60e.py",
    "../_base_/reid_runtime.py",
]
method = dict(type="Standard")
