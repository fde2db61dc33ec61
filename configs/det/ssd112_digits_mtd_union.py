# MTD of the small SSD on clean and adversarial images of large pasted digits: what MTD with NAT is to be compared with.
# Command: python tools/train.py configs/det/ssd112_digits_mtd_union.py
# Eight epochs from the undefended detector's weights, which is trained first, once.
# Cost: 6 forwards and 4 backwards per image and step. Paper's number: none (the set is natx's own).
_base_ = ["ssd112_digits_mtd.py"]
method = dict(views=("clean", "adv"))
