# MTD of a small Faster R-CNN on pasted digits: adversarial images alone, each the worse of one step on the
# classification loss and one on the localisation loss, judged by the total loss.
# Command: python tools/train.py configs/det/faster_rcnn_digits_mtd.py
# Twelve epochs from the undefended detector's weights, which is trained first, once.
# Cost: 5 forwards and 3 backwards per image and step. Paper's number: none (the set is natx's own).
_base_ = [
    "../_base_/det_runtime.py",
    "../_base_/digits_voc.py",
    "../_base_/faster_rcnn_small.py",
    "../_base_/ssd_small_finetune.py",
    "../_base_/mtd.py",
]
start = dict(config="configs/det/faster_rcnn_digits_std.py")
