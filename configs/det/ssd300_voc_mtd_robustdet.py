# MTD of SSD300 as RobustDet's published code trains it (Dong et al. 2022): 16 images are attacked for 20 steps in a row
# (8/255 each, from the last step's images), each time by the step on the classification or on the localisation loss,
# whichever leaves the batch with the larger total loss, and followed by an update on them and 16 new clean images.
# SGD at 1e-3 for about 120,000 updates (122 epochs of 980), divided by 10 at 80,000 and 100,000.
# Differences: that code counts max_iter in batches of attacked images, so the 120,000 of its settings are 2.4 million
# updates, nearly all after the last drop; here they are updates, as in its script for RobustDet itself. Attacked and
# clean images come from one shuffled order, there from two. The warm-up, the clipped gradients, the augmentations and
# the detector are those of the other SSD300 configs.
# Command: python tools/train.py configs/det/ssd300_voc_mtd_robustdet.py
# Cost: 5 forwards and 3 backwards per attacked image and step, 1 and 1 per clean one (3 and 2 in the mean). Paper's
# number: 47.2 clean, 28.2 under loss_cls, 30.7 under loss_loc (mAP, Table 13, MTD; the paper takes its setup from both
# publications and does not say which of the two trainings it is).
_base_ = [
    "../_base_/models/ssd300_vgg16.py",
    "../_base_/datasets/voc0712_300x300.py",
    "../_base_/schedules/ssd300_robustdet_122e.py",
    "../_base_/methods/mtd_robustdet.py",
    "../_base_/det_runtime.py",
]
paper_row = "MTD"
