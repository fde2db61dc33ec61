# MTD with NAT of RetinaNet on Pascal VOC: clean and MTD images, and the nasty term on the class logits of the positive
# priors (a divergence of one Bernoulli a class).
# Command: python tools/train.py configs/det/retinanet_voc_mtd_nat.py
# Cost: 8 forwards and 4 backwards per image and step. Paper's number: none (Table 13 is SSD300).
_base_ = ["retinanet_voc_std.py"]
method = dict(
    type="Adversarial",
    views=("clean", "adv"),
    attack=dict(
        type="WorstOf",
        threat=dict(type="Linf", eps=8 / 255),
        attacks=[
            dict(type="PGD", steps=1, step_size=8 / 255, objective=dict(type="ImageLoss", name="loss_cls")),
            dict(type="PGD", steps=1, step_size=8 / 255, objective=dict(type="ImageLoss", name="loss_bbox")),
        ],
        objective=dict(type="ImageLoss"),
    ),
    terms=[
        dict(type="TaskLoss"),
        dict(type="NastyKL", weight=0.06, temperature=4.0, adversary=dict(config="configs/det/retinanet_voc_std.py")),
    ],
)
