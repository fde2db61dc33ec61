# Twelve epochs of the small detectors from trained weights: a lower rate, no warm-up, a cosine.
_base_ = ["det_small_30e.py"]
optim_wrapper = dict(optimizer=dict(lr=0.02))
param_scheduler = [dict(type="CosineAnnealingLR", T_max=12, by_epoch=True)]
train_cfg = dict(max_epochs=12)
