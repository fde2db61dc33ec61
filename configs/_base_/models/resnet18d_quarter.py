# ResNet-18-D (He et al. 2019) at a quarter of its width, for 100 classes: the classifier whose backbone the small
# detectors have (ssd_r18d.py), from random weights.
task = dict(
    type="ClassificationTask",
    model="resnet18d",
    num_classes=100,
    model_args=dict(channels=(16, 32, 64, 128), stem_width=8),
    channels_last=True,
)
