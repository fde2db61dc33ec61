# MTD of the small SSD on a few real photographs: adversarial images alone, each the worse of one step on the
# classification loss and one on the localisation loss, judged by the total loss.
# Thirty epochs from the undefended detector's weights, which is trained first, once.
# Command: python tools/train.py configs/det/ssd_photos_mtd.py
# Cost: 5 forwards and 3 backwards per image and step. Paper's number: none (Table 13 has all of VOC and SSD300).
_base_ = ["ssd_photos_std.py"]
start = dict(config="configs/det/ssd_photos_std.py")
optim_wrapper = dict(optimizer=dict(lr=0.02))
param_scheduler = [dict(type="CosineAnnealingLR", T_max=30, by_epoch=True)]
train_cfg = dict(max_epochs=30)
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
