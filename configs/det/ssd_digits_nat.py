# NAT without MTD of the small SSD: adversarial images that climb the classification loss as for classifiers (10 steps
# of 2/255), and the nasty term.
# Command: python tools/train.py configs/det/ssd_digits_nat.py
# Twelve epochs from the undefended detector's weights, which is trained first, once.
# Cost: 14 forwards and 12 backwards per image and step. Paper's number: none (the set is natx's own).
_base_ = [
    "../_base_/det_runtime.py",
    "../_base_/digits_voc.py",
    "../_base_/ssd_small.py",
    "../_base_/ssd_small_finetune.py",
]
start = dict(config="configs/det/ssd_digits_std.py")
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
