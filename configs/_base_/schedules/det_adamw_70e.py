# det_adamw_30e.py over 70 short epochs: warm-up over 3, then a cosine.
_base_ = ["det_adamw_30e.py"]
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=3, by_epoch=True),
    dict(type="CosineAnnealingLR", T_max=67, begin=3, end=70, by_epoch=True),
]
train_cfg = dict(max_epochs=70)
