# MART's schedule for WRN-34-10 (train_wideresnet.py): 90 epochs of SGD at 0.1, divided by 10 from its epochs 75 and 90.
_base_ = ["sgd.py"]
optim_wrapper = dict(optimizer=dict(weight_decay=7e-4))
param_scheduler = [dict(type="MultiStepLR", milestones=[74, 89], gamma=0.1, by_epoch=True)]
train_cfg = dict(max_epochs=90)
