# MTD with NAT of RetinaNet on Pascal VOC: clean and MTD images, and the nasty term on the class logits of the positive
# priors (a divergence of one Bernoulli a class).
# Command: python tools/train.py configs/det/retinanet_voc_mtd_nat.py
# Cost: 8 forwards and 4 backwards per image and step. Paper's number: none (Table 13 is SSD300).
_base_ = [
    "../_base_/det_runtime.py",
    "../_base_/voc_keep_ratio.py",
    "../_base_/retinanet_r50.py",
    "../_base_/voc_1x_schedule.py",
    "../_base_/mtd.py",
]
method = dict(
    views=("clean", "adv"),
    terms=[
        dict(type="TaskLoss"),
        dict(type="NastyKL", weight=0.06, temperature=4.0, adversary=dict(config="configs/det/retinanet_voc_std.py")),
    ],
)
