# Eight epochs from trained weights: half of det_adamw_30e.py's rate, no warm-up, a cosine.
_base_ = ["det_adamw_30e.py"]
optim_wrapper = dict(optimizer=dict(lr=0.001))
param_scheduler = [dict(type="CosineAnnealingLR", T_max=8, by_epoch=True)]
train_cfg = dict(max_epochs=8)
