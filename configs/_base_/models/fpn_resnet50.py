# What RetinaNet and Faster R-CNN share: pixels normalised as mmdet does, ResNet-50 from random weights, FPN.
task = dict(
    type="DetectionTask",
    num_classes=20,
    channels_last=True,
    model=dict(
        data_preprocessor=dict(
            type="DetDataPreprocessor",
            mean=[123.675, 116.28, 103.53],
            std=[58.395, 57.12, 57.375],
            bgr_to_rgb=True,
            pad_size_divisor=32,
        ),
        backbone=dict(type="ResNet", depth=50, out_indices=(0, 1, 2, 3)),
        neck=dict(type="FPN", in_channels=[256, 512, 1024, 2048], out_channels=256, num_outs=5),
    ),
)
