# WRN-28-10 for 32 x 32 images and 10 classes.
_base_ = ["resnet18_cifar.py"]
task = dict(model="wrn_28_10")
