# MTD with NAT of RetinaNet on COCO 2017: clean and MTD images, and the nasty term on the class logits of the positive
# priors (a divergence of one Bernoulli a class). The term's weight holds a tenth of the task's gradient on these
# logits.
# Command: python tools/train.py configs/det/retinanet_coco_mtd_nat.py
# Cost: 8 forwards and 4 backwards per image and step. Paper's number: none (Table 13 is SSD300 on VOC).
_base_ = [
    "../_base_/models/retinanet_r50_fpn.py",
    "../_base_/datasets/coco_short800.py",
    "../_base_/schedules/voc_1x.py",
    "../_base_/methods/mtd.py",
    "../_base_/det_runtime.py",
]
task = dict(num_classes=80, model=dict(bbox_head=dict(num_classes=80)))
method = dict(
    views=("clean", "adv"),
    terms=[
        dict(type="TaskLoss"),
        dict(type="NastyKL", share=0.1, temperature=4.0, adversary=dict(config="configs/det/retinanet_coco_std.py")),
    ],
)
