# BoT's schedule (reid-strong-baseline): 120 epochs of Adam at 3.5e-4, warm-up over 10, divided by 10 at 40 and 70.
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=3.5e-4, weight_decay=5e-4))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, begin=0, end=10, by_epoch=True),
    dict(type="MultiStepLR", milestones=[40, 70], gamma=0.1, by_epoch=True),
]
train_cfg = dict(max_epochs=120)
