# One cycle of the learning rate, up to 0.2 and down along a cosine, step by step over 30 epochs; Nesterov momentum, no
# weight decay on batch norm.
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="SGD", lr=0.2, momentum=0.9, weight_decay=5e-4, nesterov=True),
    paramwise_cfg=dict(norm_decay_mult=0.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.04, end_factor=1.0, begin=0, end=9, by_epoch=True, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", T_max=21, eta_min=1e-5, begin=9, end=30, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=30)
