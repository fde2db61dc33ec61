# MTD with NAT of a small Faster R-CNN on pasted digits: clean and MTD images, and the nasty term on the class logits of
# the target's own sampled proposals, where the adversary looks with its own features.
# Command: python tools/train.py configs/det/faster_rcnn_digits_mtd_nat.py
# Twelve epochs from the undefended detector's weights, which is trained first, once.
# Cost: 8 forwards and 4 backwards per image and step. Paper's number: none (the set is natx's own).
_base_ = ["faster_rcnn_digits_std.py"]
start = dict(config="configs/det/faster_rcnn_digits_std.py")
optim_wrapper = dict(optimizer=dict(lr=0.02))
param_scheduler = [dict(type="CosineAnnealingLR", T_max=12, by_epoch=True)]
train_cfg = dict(max_epochs=12)
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
        dict(
            type="NastyKL", weight=0.06, temperature=4.0, adversary=dict(config="configs/det/faster_rcnn_digits_std.py")
        ),
    ],
)
