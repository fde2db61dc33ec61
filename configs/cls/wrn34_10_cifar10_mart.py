# MART of WRN-34-10 on CIFAR-10 (Wang et al. 2020), with the original's schedule for it (train_wideresnet.py).
# Command: python tools/train.py configs/cls/wrn34_10_cifar10_mart.py
# Cost: 12 forwards and 12 backwards per image and step.
# Paper's number: none (Table 1 has no MART).
# A later version of that script has 76 epochs and a weight decay of 2e-4, which is TRADES' schedule.
_base_ = ["r18_cifar10_mart.py"]
task = dict(model="wrn_34_10")
method = dict(terms=[dict(type="MART", weight=6.0)])
optim_wrapper = dict(optimizer=dict(lr=0.1, weight_decay=7e-4))
param_scheduler = [dict(type="MultiStepLR", milestones=[74, 89], gamma=0.1, by_epoch=True)]
train_cfg = dict(max_epochs=90)
