# NAT without AMD on the generated set, OSNet-x0.25: adversarial images that climb the identity cross-entropy as for
# classifiers (10 steps of 2/255), and the nasty term.
# Command: python tools/train.py configs/reid/generated_nat.py
# Cost: 14 forwards and 12 backwards per image and step. Paper's number: none (the set is natx's own).
_base_ = ["generated_base.py"]
method = dict(
    type="Adversarial",
    views=("clean", "adv"),
    attack=dict(type="PGD", threat=dict(type="Linf", eps=8 / 255), steps=10, step_size=2 / 255),
    terms=[
        dict(type="TaskLoss"),
        dict(type="NastyKL", weight=0.01, temperature=20.0, adversary=dict(config="configs/reid/generated_base.py")),
    ],
)
