# BoT: ResNet-50 from ImageNet weights, last stride 1, BNNeck, label smoothing 0.1, batch-hard triplet 0.3.
task = dict(
    type="ReIDTask",
    model="resnet50",
    num_classes=751,
    height=256,
    width=128,
    pretrained=True,
    last_stride=1,
    channels_last=True,
)
