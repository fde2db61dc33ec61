# ARD's and IAD's schedule: 200 epochs of SGD at 0.1, divided by 10 at epochs 100 and 150. (That is what the authors'
# code means; it starts from 0.1 again at each drop, so that the second one changes nothing there.)
_base_ = ["sgd.py"]
optim_wrapper = dict(optimizer=dict(weight_decay=2e-4))
param_scheduler = [dict(type="MultiStepLR", milestones=[100, 150], gamma=0.1, by_epoch=True)]
train_cfg = dict(max_epochs=200)
