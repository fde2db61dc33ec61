# A small SSD for CPUs: ResNet-18 at a quarter of its width, three levels at strides 8, 16 and 32, 160 x 160 pixels.
task = dict(
    type="DetectionTask",
    num_classes=10,
    channels_last=True,
    model=dict(
        type="SingleStageDetector",
        data_preprocessor=dict(
            type="DetDataPreprocessor",
            mean=[123.675, 116.28, 103.53],
            std=[58.395, 57.12, 57.375],
            bgr_to_rgb=True,
        ),
        backbone=dict(
            type="ResNet", depth=18, base_channels=16, stem_channels=16, out_indices=(1, 2, 3), norm_eval=False
        ),
        bbox_head=dict(
            type="SSDHead",
            in_channels=(32, 64, 128),
            num_classes=10,
            anchor_generator=dict(
                type="SSDAnchorGenerator",
                scale_major=False,
                strides=[8, 16, 32],
                ratios=[[2], [2], [2]],
                min_sizes=[20, 36, 60],
                max_sizes=[36, 60, 100],
                input_size=160,
            ),
            bbox_coder=dict(
                type="DeltaXYWHBBoxCoder", target_means=[0.0, 0.0, 0.0, 0.0], target_stds=[0.1, 0.1, 0.2, 0.2]
            ),
        ),
        train_cfg=dict(
            assigner=dict(
                type="MaxIoUAssigner",
                pos_iou_thr=0.5,
                neg_iou_thr=0.5,
                min_pos_iou=0.0,
                ignore_iof_thr=-1,
                gt_max_assign_all=False,
            ),
            sampler=dict(type="PseudoSampler"),
            smoothl1_beta=1.0,
            allowed_border=-1,
            pos_weight=-1,
            neg_pos_ratio=3,
            debug=False,
        ),
        test_cfg=dict(
            nms_pre=1000,
            nms=dict(type="nms", iou_threshold=0.45),
            min_bbox_size=0,
            score_thr=0.02,
            max_per_img=100,
        ),
    ),
)
