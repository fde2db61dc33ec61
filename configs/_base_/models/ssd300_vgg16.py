# SSD300 on VGG-16 (Liu et al. 2016; mmdet's ssd300) with ImageNet weights: mean (123.675, 116.28, 103.53), std 1.
_base_ = ["ssd.py"]
task = dict(
    num_classes=20,
    pretrained=True,
    model=dict(
        data_preprocessor=dict(std=[1, 1, 1]),
        backbone=dict(
            type="SSDVGG",
            depth=16,
            with_last_pool=False,
            ceil_mode=True,
            out_indices=(3, 4),
            out_feature_indices=(22, 34),
            init_cfg=dict(type="Pretrained", checkpoint="open-mmlab://vgg16_caffe"),
        ),
        neck=dict(
            type="SSDNeck",
            in_channels=(512, 1024),
            out_channels=(512, 1024, 512, 256, 256, 256),
            level_strides=(2, 2, 1, 1),
            level_paddings=(1, 1, 0, 0),
            l2_norm_scale=20,
        ),
        bbox_head=dict(
            in_channels=(512, 1024, 512, 256, 256, 256),
            num_classes=20,
            anchor_generator=dict(
                input_size=300,
                basesize_ratio_range=(0.2, 0.9),
                strides=[8, 16, 32, 64, 100, 300],
                ratios=[[2], [2, 3], [2, 3], [2, 3], [2], [2]],
            ),
        ),
        test_cfg=dict(max_per_img=200),
    ),
)
