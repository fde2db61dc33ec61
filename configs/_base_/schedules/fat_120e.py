# FAT's schedule (zjfheart/Friendly-Adversarial-Training, FAT.py, which counts epochs from 1): 120 epochs of SGD at 0.1,
# at 0.01 from epoch 60 on, 0.001 from 90 on, 0.0005 from 110 on.
_base_ = ["sgd.py"]
optim_wrapper = dict(optimizer=dict(weight_decay=2e-4))
param_scheduler = [
    dict(type="MultiStepLR", milestones=[59, 89], gamma=0.1, by_epoch=True),
    dict(type="MultiStepLR", milestones=[109], gamma=0.5, by_epoch=True),
]
train_cfg = dict(max_epochs=120)
