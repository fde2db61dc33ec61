# The paper's schedule (Sec. 4.1): 300 epochs of SGD at 0.1, divided by 10 at epochs 160 and 240.
_base_ = ["sgd.py"]
param_scheduler = [dict(type="MultiStepLR", milestones=[160, 240], gamma=0.1, by_epoch=True)]
train_cfg = dict(max_epochs=300)
