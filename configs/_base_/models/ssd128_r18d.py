# ssd112_r18d.py for people at 128 x 128 pixels: anchors from 13 pixels to nearly the whole image, up to four times as
# high as wide, and responsible from an IoU of 0.4, since few anchors meet so narrow an object.
_base_ = ["ssd112_r18d.py"]
task = dict(
    num_classes=1,
    model=dict(
        bbox_head=dict(
            num_classes=1,
            anchor_generator=dict(
                ratios=[[2, 4], [2, 4], [2, 4]],
                min_sizes=[13, 32, 64],
                max_sizes=[32, 64, 112],
                input_size=128,
            ),
        ),
        train_cfg=dict(assigner=dict(pos_iou_thr=0.4, neg_iou_thr=0.4)),
    ),
)
