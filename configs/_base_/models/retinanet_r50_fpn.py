# RetinaNet (retinanet_fpn.py) from ImageNet weights, its stem and first stage and all statistics of batch norm frozen;
# the two coarsest levels are convolutions of the last feature map.
_base_ = ["retinanet_fpn.py"]
task = dict(
    pretrained=True,
    model=dict(
        backbone=dict(
            frozen_stages=1,
            norm_eval=True,
            init_cfg=dict(type="Pretrained", checkpoint="torchvision://resnet50"),
        ),
        neck=dict(add_extra_convs="on_input"),
    ),
)
