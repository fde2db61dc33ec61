# RSLAD's schedule: 300 epochs of SGD at 0.1, divided by 10 at epochs 215, 260 and 285.
_base_ = ["sgd.py"]
optim_wrapper = dict(optimizer=dict(weight_decay=2e-4))
param_scheduler = [dict(type="MultiStepLR", milestones=[215, 260, 285], gamma=0.1, by_epoch=True)]
train_cfg = dict(max_epochs=300)
