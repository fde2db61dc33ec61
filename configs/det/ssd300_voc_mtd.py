# MTD of SSD300 on Pascal VOC: adversarial images alone, each the worse of one step on the classification loss and one
# on the localisation loss, judged by the total loss.
# Command: python tools/train.py configs/det/ssd300_voc_mtd.py
# Cost: 5 forwards and 3 backwards per image and step. Paper's number: 47.2 clean, 28.2 under loss_cls, 30.7 under
# loss_loc (mAP, Table 13, MTD).
_base_ = [
    "../_base_/models/ssd300_vgg16.py",
    "../_base_/datasets/voc0712_300x300.py",
    "../_base_/schedules/ssd300_232e.py",
    "../_base_/methods/mtd.py",
    "../_base_/det_runtime.py",
]
paper_row = "MTD"
