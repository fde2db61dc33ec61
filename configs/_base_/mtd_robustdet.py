# MTD as RobustDet's published code trains it (Dong et al. 2022): half of a batch is attacked for 20 steps in a row
# (8/255 each, from the last step's images), each time by the step on the classification or on the localisation loss,
# whichever leaves the batch with the larger total loss, and followed by an update on it and as many new clean images.
method = dict(
    type="FreeAdversarial",
    replays=20,
    fresh=0.5,
    attack=dict(
        type="WorstOf",
        threat=dict(type="Linf", eps=8 / 255),
        attacks=[
            dict(
                type="PGD",
                steps=1,
                step_size=8 / 255,
                random_start=False,
                objective=dict(type="ImageLoss", name="loss_cls"),
            ),
            dict(
                type="PGD",
                steps=1,
                step_size=8 / 255,
                random_start=False,
                objective=dict(type="ImageLoss", name="loss_bbox"),
            ),
        ],
        select="batch",
    ),
)
