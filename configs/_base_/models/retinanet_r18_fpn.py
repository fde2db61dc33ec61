# A small RetinaNet for CPUs: ResNet-18 at a quarter of its width, three levels of 32 channels.
_base_ = ["retinanet_fpn.py"]
task = dict(
    num_classes=10,
    model=dict(
        backbone=dict(depth=18, base_channels=16, stem_channels=16, norm_eval=False),
        neck=dict(in_channels=[16, 32, 64, 128], out_channels=32, num_outs=3),
        bbox_head=dict(
            num_classes=10,
            in_channels=32,
            stacked_convs=2,
            feat_channels=32,
            anchor_generator=dict(octave_base_scale=2, strides=[8, 16, 32]),
        ),
    ),
)
