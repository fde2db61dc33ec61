# MTD with NAT of RetinaNet on Pascal VOC: clean and MTD images, and the nasty term on the class logits of the
# positive priors (a divergence of one Bernoulli a class). The term's weight holds a tenth of the task's gradient on
# these logits.
# Command: python tools/train.py configs/det/retinanet_voc_mtd_nat.py
# Cost: 8 forwards and 4 backwards per image and step. Paper's number: none (Table 13 is SSD300).
_base_ = [
    "../_base_/models/retinanet_r50_fpn.py",
    "../_base_/datasets/voc0712_short600.py",
    "../_base_/schedules/voc_1x.py",
    "../_base_/methods/mtd.py",
    "../_base_/det_runtime.py",
]
method = dict(
    views=("clean", "adv"),
    terms=[
        dict(type="TaskLoss"),
        dict(type="NastyKL", share=0.1, temperature=4.0, adversary=dict(config="configs/det/retinanet_voc_std.py")),
    ],
)
