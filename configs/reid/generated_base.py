# Undefended person re-identification on the generated set, OSNet-x0.25: identity and triplet loss on clean images
# (BoT).
# Command: python tools/train.py configs/reid/generated_base.py
# Cost: 1 forward and 1 backward per image and step. Paper's number: none (the set is natx's own).
_base_ = ["../_base_/reid_runtime.py", "../_base_/generated.py", "../_base_/generated_schedule.py"]
method = dict(type="Standard")
