# TRADES (Zhang et al. 2019): clean cross-entropy and 6 times the KL between the predictions on clean and adversarial
# images, which the inner attack climbs too, from a small normal start; separate forwards of the two views.
_base_ = ["pgd_at_union.py"]
method = dict(
    attack=dict(objective=dict(type="KL"), random_start="normal"),
    terms=[dict(type="TaskLoss", on=("clean",)), dict(type="TRADES", weight=6.0)],
    joint_batch=False,
)
