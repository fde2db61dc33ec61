# CAS' schedule (bymavis/CAS_ICLR2021, Standard_Adv_Training/train.py, which counts epochs from 1 and moves the rate
# before each): 200 epochs of SGD at 0.1, divided by 10 from its epochs 75 and 90.
_base_ = ["sgd.py"]
optim_wrapper = dict(optimizer=dict(weight_decay=1e-4))
param_scheduler = [dict(type="MultiStepLR", milestones=[74, 89], gamma=0.1, by_epoch=True)]
train_cfg = dict(max_epochs=200)
