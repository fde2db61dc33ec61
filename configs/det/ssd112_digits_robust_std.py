# Undefended small SSD on large pasted digits, from the backbone of an adversarially trained classifier: clean images
# only.
# Command: python tools/train.py configs/det/ssd112_digits_robust_std.py
# (Trains the classifier r18d_tinyimagenet_fast_at.py first, once.)
# Cost: 1 forward and 1 backward per image and step. Paper's number: none (the set is natx's own).
_base_ = ["ssd112_digits_std.py"]
custom_imports = dict(imports=["tasks.det", "tasks.cls"])
start = dict(config="configs/cls/r18d_tinyimagenet_fast_at.py", part="backbone")
