# MTD of the small SSD on clean and adversarial images: what MTD with NAT is to be compared with.
# Command: python tools/train.py configs/det/ssd_digits_mtd_union.py
# Twelve epochs from the undefended detector's weights, which is trained first, once.
# Cost: 6 forwards and 4 backwards per image and step. Paper's number: none (the set is natx's own).
_base_ = ["ssd_digits_mtd.py"]
method = dict(views=("clean", "adv"))
