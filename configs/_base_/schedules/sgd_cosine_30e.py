# sgd_cosine_10e.py over 30 epochs; on the digits about 20 seconds of adversarial training on one CPU thread.
_base_ = ["sgd_cosine_10e.py"]
param_scheduler = [dict(type="CosineAnnealingLR", T_max=30, by_epoch=True)]
train_cfg = dict(max_epochs=30)
