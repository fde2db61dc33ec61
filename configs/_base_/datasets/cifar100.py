# CIFAR-100 in torchvision's layout under data/; random crop (pad 4) and flip on the batch; eps 8/255.
_base_ = ["cifar10.py"]
data = dict(train=dict(type="CIFAR100"), test=dict(type="CIFAR100"))
