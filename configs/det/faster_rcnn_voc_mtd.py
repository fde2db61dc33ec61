# MTD of Faster R-CNN on Pascal VOC: adversarial images alone, each the worse of one step on the classification loss and
# one on the localisation loss, judged by the total loss.
# Command: python tools/train.py configs/det/faster_rcnn_voc_mtd.py
# Cost: 5 forwards and 3 backwards per image and step. Paper's number: none (Table 13 is SSD300).
_base_ = [
    "../_base_/models/faster_rcnn_r50_fpn.py",
    "../_base_/datasets/voc0712_short600.py",
    "../_base_/schedules/voc_1x.py",
    "../_base_/methods/mtd.py",
    "../_base_/det_runtime.py",
]
