# OSNet-x0.25 (0.2 M parameters without the head) from ImageNet weights: the version for CPUs.
task = dict(
    type="ReIDTask",
    model="osnet_x0_25",
    num_classes=751,
    height=256,
    width=128,
    pretrained=True,
    channels_last=True,
)
