# MTD with NAT of the small SSD on a few real photographs: ssd_photos_mtd_nat.py with the paper's weight for
# classifiers, 0.06, at temperature 4.
# Thirty epochs from the undefended detector's weights, which is trained first, once.
# Command: python tools/train.py configs/det/ssd_photos_mtd_nat_w006.py
# Cost: 8 forwards and 4 backwards per image and step. Paper's number: none (Table 13 has all of VOC and SSD300).
_base_ = ["ssd_photos_mtd_nat.py"]
method = dict(
    terms=[
        dict(type="TaskLoss"),
        dict(type="NastyKL", weight=0.06, temperature=4.0, adversary=dict(config="configs/det/ssd_photos_std.py")),
    ],
)
