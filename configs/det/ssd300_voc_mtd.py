# MTD of SSD300 on Pascal VOC: adversarial images alone, each the worse of one step on the classification loss and one
# on the localisation loss, judged by the total loss.
# Command: python tools/train.py configs/det/ssd300_voc_mtd.py
# Cost: 5 forwards and 3 backwards per image and step. Paper's number: 47.2 clean, 28.2 under loss_cls, 30.7 under
# loss_loc (mAP, Table 13, MTD).
_base_ = [
    "../_base_/det_runtime.py",
    "../_base_/voc.py",
    "../_base_/ssd300.py",
    "../_base_/ssd300_schedule.py",
    "../_base_/mtd.py",
]
paper_row = "MTD"
