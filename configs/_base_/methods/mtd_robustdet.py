# MTD as RobustDet's published code trains it (Dong et al. 2022): half of a batch is attacked for 20 steps in a row
# (8/255 each, from the last step's images), each time by the step on the classification or on the localisation loss,
# whichever leaves the batch with the larger total loss, and followed by an update on it and as many new clean images.
_base_ = ["mtd.py"]
method = dict(
    _delete_=True,
    type="FreeAdversarial",
    replays=20,
    fresh=0.5,
    attack=dict(
        type="WorstOf",
        threat=_base_.method.attack.threat,
        attacks=[dict(step, random_start=False) for step in _base_.method.attack.attacks],
        select="batch",
    ),
)
