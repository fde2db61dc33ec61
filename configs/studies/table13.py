# Table 13 of the paper: SSD300 on Pascal VOC undefended, with MTD, with MTD on the union and with MTD and NAT
# (by the share of the gradient that the term holds, and by the paper's weight), three seeds; the paper's cells beneath
# ours.
# Command: python tools/study.py configs/studies/table13.py --work-dir work_dirs/table13
# Cost: fifteen trainings with 1, 5, 6, 8 and 8 forwards per image and step: a GPU, some days. Put VOC 2007 and 2012
# under data/ first; --report prints the table as far as it has been run.
# Paper's number: MTD&NAT 48.4 clean, 30.7 under loss_cls, 31.3 under loss_loc, 27.8 under DAG, 44.7 under RAP (mAP).
title = "Table 13: object detection on Pascal VOC"
seeds = [0, 1, 2]
attacks = "configs/attacks/det_table13.py"
rows = {
    "std": dict(name="Standard", config="configs/det/ssd300_voc_std.py"),
    "mtd": dict(name="MTD", config="configs/det/ssd300_voc_mtd.py"),
    "mtd_union": dict(name="MTD (union)", config="configs/det/ssd300_voc_mtd_union.py"),
    "mtd_nat": dict(name="MTD&NAT", config="configs/det/ssd300_voc_mtd_nat.py", adversary="std"),
    "mtd_nat_w006": dict(name="MTD&NAT, weight 0.06", config="configs/det/ssd300_voc_mtd_nat_w006.py", adversary="std"),
}
