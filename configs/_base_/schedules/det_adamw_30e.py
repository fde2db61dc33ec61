# 30 epochs of AdamW: warm-up over 2, then a cosine.
optim_wrapper = dict(
    type="OptimWrapper", optimizer=dict(type="AdamW", lr=0.002, weight_decay=0.05), clip_grad=dict(max_norm=10.0)
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=2, by_epoch=True),
    dict(type="CosineAnnealingLR", T_max=28, begin=2, end=30, by_epoch=True),
]
train_cfg = dict(max_epochs=30)
