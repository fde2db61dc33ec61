# MTD's two steps, mixed: each image is attacked by one of them, drawn anew in every epoch, on the classification loss
# or on the localisation loss (Winter et al. 2026: training on attacks with different objectives).
_base_ = ["mtd.py"]
method = dict(
    attack=dict(_delete_=True, type="OneOf", threat=_base_.method.attack.threat, attacks=_base_.method.attack.attacks)
)
