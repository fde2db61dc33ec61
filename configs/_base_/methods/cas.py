# CAS (Bai et al. 2021): PGD adversarial training whose attack climbs the auxiliary losses of CASTask too.
_base_ = ["pgd_at.py"]
method = dict(attack=dict(objective=dict(type="ImageLoss")))
