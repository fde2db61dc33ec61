# MTD with NAT of a small RetinaNet on pasted digits: retinanet_digits_mtd_nat.py with the paper's weight for
# classifiers, 0.06, at temperature 4.
# Twelve epochs from the undefended detector's weights, which is trained first, once.
# Command: python tools/train.py configs/det/retinanet_digits_mtd_nat_w006.py
# Cost: 8 forwards and 4 backwards per image and step. Paper's number: none (the set is natx's own).
_base_ = ["retinanet_digits_mtd_nat.py"]
method = dict(
    terms=[
        dict(type="TaskLoss"),
        dict(
            type="NastyKL", weight=0.06, temperature=4.0, adversary=dict(config="configs/det/retinanet_digits_std.py")
        ),
    ],
)
