# Undefended person re-identification on the generated set, OSNet-x0.25: identity and triplet loss on clean images
# (BoT).
# Command: python tools/train.py configs/reid/generated_base.py
# Cost: 1 forward and 1 backward per image and step. Paper's number: none (the set is natx's own).
_base_ = [
    "../_base_/models/osnet_x0_25_generated.py",
    "../_base_/datasets/generated_reid.py",
    "../_base_/schedules/generated_reid_15e.py",
    "../_base_/reid_runtime.py",
]
method = dict(type="Standard")
