# A small SSD for CPUs, 112 x 112 pixels: ResNet-18-D at a quarter of its width, which a classifier can start
# (resnet18d_quarter.py), and a feature pyramid of 48 channels at strides 8, 16 and 32.
_base_ = ["ssd.py"]
task = dict(
    num_classes=10,
    model=dict(
        data_preprocessor=dict(std=[58.395, 57.12, 57.375]),
        backbone=dict(
            type="ResNetV1d", depth=18, base_channels=16, stem_channels=16, out_indices=(1, 2, 3), norm_eval=False
        ),
        neck=dict(type="FPN", in_channels=[32, 64, 128], out_channels=48, num_outs=3),
        bbox_head=dict(
            in_channels=(48, 48, 48),
            num_classes=10,
            anchor_generator=dict(
                strides=[8, 16, 32],
                ratios=[[2], [2], [2]],
                min_sizes=[20, 36, 56],
                max_sizes=[36, 56, 80],
                input_size=112,
            ),
        ),
        test_cfg=dict(max_per_img=100),
    ),
)
