# ResNet-18 for 32 x 32 images and 10 classes.
task = dict(type="ClassificationTask", model="resnet18_cifar", num_classes=10, channels_last=True)
