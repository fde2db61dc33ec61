# 15 epochs (16 steps of 32 images each) of Adam from random weights: warm-up over 2, then a cosine.
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=3e-3, weight_decay=5e-4))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=2, by_epoch=True),
    dict(type="CosineAnnealingLR", T_max=13, begin=2, end=15, by_epoch=True),
]
train_cfg = dict(max_epochs=15)
