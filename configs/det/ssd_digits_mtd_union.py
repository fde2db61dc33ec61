# MTD of the small SSD on clean and adversarial images: what MTD with NAT is to be compared with.
# Command: python tools/train.py configs/det/ssd_digits_mtd_union.py
# Cost: 6 forwards and 4 backwards per image and step. Paper's number: none (the set is natx's own).
_base_ = ["ssd_digits_mtd.py"]
method = dict(views=("clean", "adv"))
