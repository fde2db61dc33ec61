# MTD of the small SSD as RobustDet's published code trains it (see ssd300_voc_mtd_robustdet.py): 8 images are attacked
# for 4 steps in a row (there: 16 for 20 steps), and each step is followed by an update on them and 8 new clean images.
# Command: python tools/train.py configs/det/ssd_digits_mtd_robustdet.py
# Eight epochs of 40 updates (ssd_digits_mtd.py: twelve of 25) from the undefended detector's weights, which is trained
# first, once.
# Cost: 5 forwards and 3 backwards per attacked image and step, 1 and 1 per clean one (3 and 2 in the mean). Paper's
# number: none (the set is natx's own).
_base_ = [
    "../_base_/models/ssd160_r18.py",
    "../_base_/datasets/digits_voc.py",
    "../_base_/schedules/det_small_12e.py",
    "../_base_/methods/mtd_robustdet.py",
    "../_base_/det_runtime.py",
]
start = dict(config="configs/det/ssd_digits_std.py")
param_scheduler = [dict(type="CosineAnnealingLR", T_max=8, by_epoch=True)]
train_cfg = dict(max_epochs=8)
method = dict(replays=4)
