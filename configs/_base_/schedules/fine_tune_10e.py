# Ten epochs from pretrained weights: one cycle of the learning rate, up to 0.01 in one epoch and down along a cosine,
# step by step, with clipped gradients; no weight decay on normalisation and biases.
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="SGD", lr=0.01, momentum=0.9, weight_decay=1e-4, nesterov=True),
    clip_grad=dict(max_norm=1.0),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.04, end_factor=1.0, begin=0, end=1, by_epoch=True, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", T_max=9, eta_min=1e-5, begin=1, end=10, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=10)
