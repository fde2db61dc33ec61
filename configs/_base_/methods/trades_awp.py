# TRADES-AWP (Wu et al. 2020): TRADES at adversarially perturbed weights.
_base_ = ["trades.py"]
method = dict(_delete_=True, type="AWP", gamma=0.005, method=_base_.method)
