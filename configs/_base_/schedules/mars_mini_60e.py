# 60 short epochs (4 steps of 64 images) of Adam from random weights: warm-up over 5, then a cosine.
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=1e-3, weight_decay=5e-4))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=5, by_epoch=True),
    dict(type="CosineAnnealingLR", T_max=55, begin=5, end=60, by_epoch=True),
]
train_cfg = dict(max_epochs=60)
