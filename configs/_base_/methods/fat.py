# Friendly adversarial training (Zhang et al. 2020): PGD that stops soon after an image is misclassified, at first at
# once, later one and two steps after.
_base_ = ["pgd_at.py"]
method = dict(attack=dict(type="FriendlyPGD", tau=[(0, 0), (50, 1), (90, 2)], omega=0.001))
