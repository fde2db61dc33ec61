# A small Faster R-CNN for CPUs: ResNet-18 at a quarter of its width, FPN of 32 channels, 64 proposals an image.
_base_ = ["faster_rcnn_fpn.py"]
task = dict(
    num_classes=10,
    model=dict(
        backbone=dict(depth=18, base_channels=16, stem_channels=16, norm_eval=False),
        neck=dict(in_channels=[16, 32, 64, 128], out_channels=32),
        rpn_head=dict(in_channels=32, feat_channels=32, anchor_generator=dict(scales=[4])),
        roi_head=dict(
            bbox_roi_extractor=dict(out_channels=32),
            bbox_head=dict(in_channels=32, fc_out_channels=64, num_classes=10),
        ),
        train_cfg=dict(
            rpn=dict(sampler=dict(num=64)),
            rpn_proposal=dict(nms_pre=200, max_per_img=64),
            rcnn=dict(sampler=dict(num=32)),
        ),
        test_cfg=dict(rpn=dict(nms_pre=100, max_per_img=64)),
    ),
)
