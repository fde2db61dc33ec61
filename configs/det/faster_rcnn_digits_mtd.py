# MTD of a small Faster R-CNN on pasted digits: adversarial images alone, each the worse of one step on the
# classification loss and one on the localisation loss, judged by the total loss.
# Command: python tools/train.py configs/det/faster_rcnn_digits_mtd.py
# Twelve epochs from the undefended detector's weights, which is trained first, once.
# Cost: 5 forwards and 3 backwards per image and step. Paper's number: none (the set is natx's own).
_base_ = ["faster_rcnn_digits_std.py"]
start = dict(config="configs/det/faster_rcnn_digits_std.py")
optim_wrapper = dict(optimizer=dict(lr=0.02))
param_scheduler = [dict(type="CosineAnnealingLR", T_max=12, by_epoch=True)]
train_cfg = dict(max_epochs=12)
method = dict(
    type="Adversarial",
    views=("adv",),
    attack=dict(
        type="WorstOf",
        threat=dict(type="Linf", eps=8 / 255),
        attacks=[
            dict(type="PGD", steps=1, step_size=8 / 255, objective=dict(type="ImageLoss", name="loss_cls")),
            dict(type="PGD", steps=1, step_size=8 / 255, objective=dict(type="ImageLoss", name="loss_bbox")),
        ],
        objective=dict(type="ImageLoss"),
    ),
)
