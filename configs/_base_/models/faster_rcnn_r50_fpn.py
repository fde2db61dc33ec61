# Faster R-CNN (faster_rcnn_fpn.py) from ImageNet weights, its stem and first stage and all statistics of batch norm
# frozen.
_base_ = ["faster_rcnn_fpn.py"]
task = dict(
    pretrained=True,
    model=dict(
        backbone=dict(
            frozen_stages=1,
            norm_eval=True,
            init_cfg=dict(type="Pretrained", checkpoint="torchvision://resnet50"),
        ),
    ),
)
