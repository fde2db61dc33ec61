# MART (Wang et al. 2020): boosted cross-entropy on adversarial images, and the KL between the predictions on clean and
# adversarial images where the clean one is wrong; separate forwards of the two views.
_base_ = ["pgd_at_union.py"]
method = dict(
    attack=dict(random_start="normal"),
    terms=[dict(type="MART", weight=5.0)],
    joint_batch=False,
)
