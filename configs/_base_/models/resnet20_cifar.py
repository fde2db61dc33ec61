# ResNet-20 (He et al. 2016, 0.27 M parameters) for 32 x 32 images and 10 classes: what a CPU trains in minutes.
_base_ = ["resnet18_cifar.py"]
task = dict(model="resnet20_cifar")
