# 30 epochs of SGD with a one-cycle-like cosine decay; about 20 seconds of adversarial training on one CPU thread.
optim_wrapper = dict(
    type="OptimWrapper", optimizer=dict(type="SGD", lr=0.05, momentum=0.9, weight_decay=5e-4, nesterov=True)
)
param_scheduler = [dict(type="CosineAnnealingLR", T_max=30, by_epoch=True)]
train_cfg = dict(max_epochs=30)
