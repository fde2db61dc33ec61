# MTD of the small SSD on a few real photographs: adversarial images alone, each the worse of one step on the
# classification loss and one on the localisation loss, judged by the total loss.
# Thirty epochs from the undefended detector's weights, which is trained first, once.
# Command: python tools/train.py configs/det/ssd_photos_mtd.py
# Cost: 5 forwards and 3 backwards per image and step. Paper's number: none (Table 13 has all of VOC and SSD300).
_base_ = [
    "../_base_/models/ssd160_r18.py",
    "../_base_/datasets/photos_voc.py",
    "../_base_/schedules/det_small_12e.py",
    "../_base_/methods/mtd.py",
    "../_base_/det_runtime.py",
]
task = dict(num_classes=20, model=dict(bbox_head=dict(num_classes=20)))
start = dict(config="configs/det/ssd_photos_std.py")
param_scheduler = [dict(type="CosineAnnealingLR", T_max=30, by_epoch=True)]
train_cfg = dict(max_epochs=30)
