# NAT without MTD of the small SSD: adversarial images that climb the classification loss as for classifiers (10 steps
# of 2/255), and the nasty term.
# Command: python tools/train.py configs/det/ssd_digits_nat.py
# Twelve epochs from the undefended detector's weights, which is trained first, once.
# Cost: 14 forwards and 12 backwards per image and step. Paper's number: none (the set is natx's own).
_base_ = ["ssd_digits_std.py"]
start = dict(config="configs/det/ssd_digits_std.py")
optim_wrapper = dict(optimizer=dict(lr=0.02))
param_scheduler = [dict(type="CosineAnnealingLR", T_max=12, by_epoch=True)]
train_cfg = dict(max_epochs=12)
method = dict(
    type="Adversarial",
    views=("clean", "adv"),
    attack=dict(
        type="PGD",
        threat=dict(type="Linf", eps=8 / 255),
        steps=10,
        step_size=2 / 255,
        objective=dict(type="ImageLoss", name="loss_cls"),
    ),
    terms=[
        dict(type="TaskLoss"),
        dict(type="NastyKL", weight=0.06, temperature=4.0, adversary=dict(config="configs/det/ssd_digits_std.py")),
    ],
)
