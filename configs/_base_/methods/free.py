# Free adversarial training (Shafahi et al. 2019): eight updates on each batch, whose backward also moves the pixels.
method = dict(type="FreeTraining", threat=dict(type="Linf", eps=8 / 255), replays=8)
