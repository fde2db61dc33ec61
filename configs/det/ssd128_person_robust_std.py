# Undefended small SSD on the people of a few real photographs, from the backbone of an adversarially trained
# classifier: clean images only.
# Command: python tools/train.py configs/det/ssd128_person_robust_std.py
# (Trains the classifier r18d_tinyimagenet_fast_at.py first, once.)
# Cost: 1 forward and 1 backward per image and step. Paper's number: none (Table 13 has all of VOC and SSD300).
_base_ = ["ssd128_person_std.py"]
custom_imports = dict(imports=["tasks.det", "tasks.cls"])
start = dict(config="configs/cls/r18d_tinyimagenet_fast_at.py", part="backbone")
