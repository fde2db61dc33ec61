# NAT without AMD on Market-1501, OSNet-x0.25 for CPUs: adversarial images that climb the identity cross-entropy as for
# classifiers (10 steps of 2/255), and the nasty term.
# Command: python tools/train.py configs/reid/market_nat_osnet.py
# Cost: 14 forwards and 12 backwards per image and step. Paper's number: none (Table 12 is for a larger network).
_base_ = ["market_base_osnet.py"]
method = dict(
    type="Adversarial",
    views=("clean", "adv"),
    attack=dict(type="PGD", threat=dict(type="Linf", eps=8 / 255), steps=10, step_size=2 / 255),
    terms=[
        dict(type="TaskLoss"),
        dict(type="NastyKL", weight=0.01, temperature=20.0, adversary=dict(config="configs/reid/market_base_osnet.py")),
    ],
)
