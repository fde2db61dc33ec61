# RobustDet's schedule: SSD's (ssd300_232e.py) over about 120,000 updates of 980 an epoch, divided by 10 at 80,000 and
# 100,000.
_base_ = ["ssd300_232e.py"]
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=2, by_epoch=True),
    dict(type="MultiStepLR", milestones=[82, 102], gamma=0.1, by_epoch=True),
]
train_cfg = dict(max_epochs=122)
