# The schedule of edm_600e.py over Table 3's 800 epochs for CIFAR-100.
_base_ = ["edm_600e.py"]
param_scheduler = [
    dict(type="OneCycleLR", eta_max=0.2, total_steps=800, pct_start=0.025, by_epoch=True),
    dict(type="CosineAnnealingMomentum", T_max=19, eta_min=0.85, begin=0, end=20, by_epoch=True),
    dict(type="CosineAnnealingMomentum", T_max=780, eta_min=0.95, begin=19, end=800, by_epoch=True),
]
train_cfg = dict(max_epochs=800)
