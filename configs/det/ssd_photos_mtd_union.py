# MTD of the small SSD on clean and adversarial real photographs: what MTD with NAT is to be compared with.
# Thirty epochs from the undefended detector's weights, which is trained first, once.
# Command: python tools/train.py configs/det/ssd_photos_mtd_union.py
# Cost: 6 forwards and 4 backwards per image and step. Paper's number: none (Table 13 has all of VOC and SSD300).
_base_ = ["ssd_photos_mtd.py"]
method = dict(views=("clean", "adv"))
