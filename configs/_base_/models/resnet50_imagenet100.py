# ResNet-50 for the 100 classes of ImageNet-100, from ImageNet weights of timm's hub; without a network:
# task.pretrained=False task.checkpoint=path/to/model.safetensors.
task = dict(
    type="ClassificationTask",
    model="resnet50",
    num_classes=100,
    pretrained=True,
    checkpoint=None,
    channels_last=True,
)
