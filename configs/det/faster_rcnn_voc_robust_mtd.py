# MTD of Faster R-CNN on Pascal VOC from the backbone of an adversarially trained classifier, all of it trained:
# adversarial images alone, as faster_rcnn_voc_mtd.py has them.
# Command: python tools/train.py configs/det/faster_rcnn_voc_robust_mtd.py
# (Trains the classifier r50_in100_fast_at.py first, once.)
# Cost: 5 forwards and 3 backwards per image and step. Paper's number: none (Table 13 is SSD300).
_base_ = ["faster_rcnn_voc_mtd.py"]
custom_imports = dict(imports=["tasks.det", "tasks.cls"])
task = dict(pretrained=False, unfrozen=True)
start = dict(config="configs/cls/r50_in100_fast_at.py", part="backbone")
