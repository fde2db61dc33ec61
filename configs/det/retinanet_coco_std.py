# Undefended RetinaNet on COCO 2017: clean images only. The adversary of retinanet_coco_mtd_nat.py.
# Command: python tools/train.py configs/det/retinanet_coco_std.py
# Cost: 1 forward and 1 backward per image and step. Paper's number: none (Table 13 is SSD300 on VOC).
_base_ = [
    "../_base_/models/retinanet_r50_fpn.py",
    "../_base_/datasets/coco_short800.py",
    "../_base_/schedules/voc_1x.py",
    "../_base_/det_runtime.py",
]
task = dict(num_classes=80, model=dict(bbox_head=dict(num_classes=80)))
method = dict(type="Standard")
