# AWP's schedule (csdongxian/AWP): 200 epochs of SGD at 0.1, divided by 10 at epochs 100 and 150.
_base_ = ["sgd.py"]
param_scheduler = [dict(type="MultiStepLR", milestones=[100, 150], gamma=0.1, by_epoch=True)]
train_cfg = dict(max_epochs=200)
