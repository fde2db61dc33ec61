# A small SSD for CPUs: ResNet-18 at a quarter of its width, three levels at strides 8, 16 and 32, 160 x 160 pixels.
_base_ = ["ssd.py"]
task = dict(
    num_classes=10,
    model=dict(
        data_preprocessor=dict(std=[58.395, 57.12, 57.375]),
        backbone=dict(
            type="ResNet", depth=18, base_channels=16, stem_channels=16, out_indices=(1, 2, 3), norm_eval=False
        ),
        bbox_head=dict(
            in_channels=(32, 64, 128),
            num_classes=10,
            anchor_generator=dict(
                strides=[8, 16, 32],
                ratios=[[2], [2], [2]],
                min_sizes=[20, 36, 60],
                max_sizes=[36, 60, 100],
                input_size=160,
            ),
        ),
        test_cfg=dict(max_per_img=100),
    ),
)
