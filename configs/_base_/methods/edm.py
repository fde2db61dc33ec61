# The training of Wang et al. 2023 (DM-Improves-AT): TRADES with weight 5 and separate forwards of the two views; the
# inner attack climbs its KL from a uniform start, with batch norm on batch statistics.
_base_ = ["pgd_at_union.py"]
method = dict(
    attack=dict(objective=dict(type="KL"), bn_mode="train"),
    terms=[dict(type="TaskLoss", on=("clean",)), dict(type="TRADES", weight=5.0)],
    joint_batch=False,
)
