# AT-AWP (Wu et al. 2020): PGD adversarial training at adversarially perturbed weights.
_base_ = ["pgd_at.py"]
method = dict(_delete_=True, type="AWP", gamma=0.01, method=_base_.method)
