# MTD of SSD300 on clean and adversarial images: what MTD with NAT is to be compared with.
# Command: python tools/train.py configs/det/ssd300_voc_mtd_union.py
# Cost: 6 forwards and 4 backwards per image and step. Paper's number: none (Table 13 has MTD on adversarial images
# alone).
_base_ = ["ssd300_voc_mtd.py"]
method = dict(views=("clean", "adv"))
paper_row = None
