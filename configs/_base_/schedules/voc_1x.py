# mmdet's 1x schedule on VOC: 12 epochs of SGD at 0.01, divided by 10 at epoch 9, warm-up over the first.
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="SGD", lr=0.01, momentum=0.9, weight_decay=1e-4),
    clip_grad=dict(max_norm=35.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=2, by_epoch=True),
    dict(type="MultiStepLR", milestones=[9], gamma=0.1, by_epoch=True),
]
train_cfg = dict(max_epochs=12)
