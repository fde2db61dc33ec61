# MTD with NAT of RetinaNet on COCO 2017: retinanet_coco_mtd_nat.py with the paper's weight for classifiers, 0.06, at
# temperature 4.
# Command: python tools/train.py configs/det/retinanet_coco_mtd_nat_w006.py
# Cost: 8 forwards and 4 backwards per image and step. Paper's number: none (Table 13 is SSD300 on VOC).
_base_ = ["retinanet_coco_mtd_nat.py"]
method = dict(
    terms=[
        dict(type="TaskLoss"),
        dict(type="NastyKL", weight=0.06, temperature=4.0, adversary=dict(config="configs/det/retinanet_coco_std.py")),
    ],
)
