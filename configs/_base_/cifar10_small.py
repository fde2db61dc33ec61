# CIFAR-10 for CPUs: 10 epochs over the first 6,000 training images (500 of them held out), cosine decay.
_base_ = ["cifar10.py"]
data = dict(train=dict(limit=6000), heldout=500, batch_size=64)
optim_wrapper = dict(
    type="OptimWrapper", optimizer=dict(type="SGD", lr=0.05, momentum=0.9, weight_decay=5e-4, nesterov=True)
)
param_scheduler = [dict(type="CosineAnnealingLR", T_max=10, by_epoch=True)]
train_cfg = dict(max_epochs=10)
select = dict(every=2)
