# det_small_30e.py over 100 short epochs, with a warm-up over 5.
_base_ = ["det_small_30e.py"]
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=5, by_epoch=True),
    dict(type="CosineAnnealingLR", T_max=95, begin=5, end=100, by_epoch=True),
]
train_cfg = dict(max_epochs=100)
