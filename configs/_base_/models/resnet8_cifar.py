# ResNet-8 for 32 x 32 images and 10 classes, for CPUs.
_base_ = ["resnet18_cifar.py"]
task = dict(model="resnet8_cifar")
