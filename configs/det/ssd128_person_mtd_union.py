# MTD of the small SSD on clean and adversarial images of people: what MTD with NAT is to be compared with.
# Command: python tools/train.py configs/det/ssd128_person_mtd_union.py
# Eight epochs from the undefended detector's weights, which is trained first, once.
# Cost: 6 forwards and 4 backwards per image and step. Paper's number: none (Table 13 has all of VOC and SSD300).
_base_ = ["ssd128_person_mtd.py"]
method = dict(views=("clean", "adv"))
