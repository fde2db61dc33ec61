# Undefended Faster R-CNN on Pascal VOC from the backbone of an adversarially trained classifier, as the detectors of Li
# et al. 2023 are ("On the Importance of Backbone to the Adversarial Robustness of Object Detectors"), all of it trained
# (theirs keep the stem and the first stage as they are): clean images only.
# Command: python tools/train.py configs/det/faster_rcnn_voc_robust_std.py
# (Trains the classifier r50_in100_fast_at.py first, once.)
# Cost: 1 forward and 1 backward per image and step. Paper's number: none (Table 13 is SSD300).
_base_ = ["faster_rcnn_voc_std.py"]
custom_imports = dict(imports=["tasks.det", "tasks.cls"])
task = dict(pretrained=False, unfrozen=True)
start = dict(config="configs/cls/r50_in100_fast_at.py", part="backbone")
