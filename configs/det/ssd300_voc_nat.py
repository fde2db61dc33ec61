# NAT without MTD of SSD300: adversarial images that climb the classification loss as for classifiers (10 steps of
# 2/255), and the nasty term.
# Command: python tools/train.py configs/det/ssd300_voc_nat.py
# Cost: 14 forwards and 12 backwards per image and step. Paper's number: none (Table 13 has NAT with MTD only).
_base_ = ["ssd300_voc_std.py"]
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
        dict(type="NastyKL", weight=0.06, temperature=4.0, adversary=dict(config="configs/det/ssd300_voc_std.py")),
    ],
)
paper_row = None
