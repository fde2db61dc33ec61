# CIFAR-10 for CPUs: the first 6,000 training images, 500 of them held out.
_base_ = ["cifar10.py"]
data = dict(train=dict(limit=6000), heldout=500, batch_size=64)
select = dict(every=2)
