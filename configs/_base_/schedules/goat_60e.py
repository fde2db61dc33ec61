# CEA-LIST adv-reid's schedule for a classifier: 60 epochs of Adam at 3.5e-4, divided by 10 at 20 and 40.
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=3.5e-4, weight_decay=5e-4))
param_scheduler = [dict(type="MultiStepLR", milestones=[20, 40], gamma=0.1, by_epoch=True)]
train_cfg = dict(max_epochs=60)
