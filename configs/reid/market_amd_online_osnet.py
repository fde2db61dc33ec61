# AMD online on Market-1501, OSNet-x0.25 for CPUs: adversarial images made anew for every batch on the current model. As
# GOAT (Bouniot et al.): 7 steps from a random start, guides from the batch; within 8/255 here, 5/255 there.
# Command: python tools/train.py configs/reid/market_amd_online_osnet.py
# Cost: 10 forwards and 9 backwards per image and step. Paper's number: none (Table 12 is for a larger network).
_base_ = ["market_base_osnet.py"]
method = dict(
    type="Adversarial",
    views=("clean", "adv"),
    attack=dict(
        type="PGD",
        threat=dict(type="Linf", eps=8 / 255),
        steps=7,
        step_size=2 / 255,
        objective=dict(type="IFGSM", guides="batch"),
    ),
)
