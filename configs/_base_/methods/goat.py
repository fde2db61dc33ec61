# GOAT (Bouniot et al. 2020, CEA-LIST adv-reid): adversarial images only, made anew for every batch on the current model
# with batch norm in train mode. 7 steps of 1/255 within 5/255 from a random start, away from four random images of the
# same person of the whole training set and towards the furthest image of the batch.
method = dict(
    type="Adversarial",
    views=("adv",),
    attack=dict(
        type="PGD",
        threat=dict(type="Linf", eps=5 / 255),
        steps=7,
        step_size=1 / 255,
        bn_mode="train",
        objective=dict(type="GOAT"),
    ),
)
