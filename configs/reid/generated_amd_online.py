# AMD online on the generated set, OSNet-x0.25: adversarial images made anew for every batch on the current model. As
# GOAT (Bouniot et al.): 7 steps from a random start, guides from the batch; within 8/255 here, 5/255 there.
# Command: python tools/train.py configs/reid/generated_amd_online.py
# Cost: 10 forwards and 9 backwards per image and step. Paper's number: none (the set is natx's own).
_base_ = ["generated_base.py"]
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
