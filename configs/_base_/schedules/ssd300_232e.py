# SSD's schedule: SGD at 1e-3, about 120,000 steps of 32 images (232 epochs), divided by 10 at 80,000 and 100,000.
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="SGD", lr=1e-3, momentum=0.9, weight_decay=5e-4),
    clip_grad=dict(max_norm=10.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=2, by_epoch=True),
    dict(type="MultiStepLR", milestones=[155, 193], gamma=0.1, by_epoch=True),
]
train_cfg = dict(max_epochs=232)
