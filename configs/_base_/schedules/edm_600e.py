# Wang et al. 2023 (DM-Improves-AT): SGD with Nesterov momentum, no weight decay on batch norm, one cycle of the
# learning rate that is stepped once an epoch, and an average of the weights that is judged and saved. torch's
# OneCycleLR, which the original uses, also moves the momentum, from 0.95 to 0.85 and back; the last two schedulers do.
# 600 epochs are Table 3's for CIFAR-10; an epoch has as many steps as batches go into the real images.
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="SGD", lr=0.2, momentum=0.95, weight_decay=5e-4, nesterov=True),
    paramwise_cfg=dict(norm_decay_mult=0.0),
)
param_scheduler = [
    dict(type="OneCycleLR", eta_max=0.2, total_steps=600, pct_start=0.025, by_epoch=True),
    dict(type="CosineAnnealingMomentum", T_max=14, eta_min=0.85, begin=0, end=15, by_epoch=True),
    dict(type="CosineAnnealingMomentum", T_max=585, eta_min=0.95, begin=14, end=600, by_epoch=True),
]
train_cfg = dict(max_epochs=600)
ema = dict(decay=0.995, warmup=0.025)
