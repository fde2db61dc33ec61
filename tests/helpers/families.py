"""mmdet's own configs of many families, made tiny: few channels, a narrow ResNet-18, two layers of a transformer."""

from __future__ import annotations

from typing import Any

from tasks.det.compat import shipped_model

STAGES = {256: 8, 512: 16, 1024: 32, 2048: 64}  # ResNet-50's channels, and those of the tiny ResNet-18
WIDTHS = {128: 8, 256: 16, 512: 16, 1024: 32, 2048: 32}
WIDE = ("conditional_detr", "deformable_detr", "dino")  # their encodings of places have 256 entries whatever is asked
GROUPED = ("ATSSHead", "AutoAssignHead", "FCOSHead", "GFLHead", "PAAHead")  # by default their norms have 32 groups
# Keys of numbers that are no widths.
KEPT = {"num", "scales", "strides", "scale_ranges", "regress_ranges", "num_proposals", "nms_pre", "max_per_img"}
FAMILIES = {
    "atss": "atss/atss_r50_fpn_1x_coco",
    "autoassign": "autoassign/autoassign_r50-caffe_fpn_1x_coco",
    "cascade_rcnn": "cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco",
    "conditional_detr": "conditional_detr/conditional-detr_r50_8xb2-50e_coco",
    "deformable_detr": "deformable_detr/deformable-detr-refine-twostage_r50_16xb2-50e_coco",
    "detr": "detr/detr_r50_8xb2-150e_coco",
    "dino": "dino/dino-4scale_r50_8xb2-12e_coco",
    "double_head": "double_heads/dh-faster-rcnn_r50_fpn_1x_coco",
    "fcos": "fcos/fcos_r50_fpn_gn-head-center-normbbox-centeronreg-giou_8xb8-amp-lsj-200e_coco",
    "foveabox": "foveabox/fovea_r50_fpn_4xb4-1x_coco",
    "free_anchor": "free_anchor/freeanchor_r50_fpn_1x_coco",
    "fsaf": "fsaf/fsaf_r50_fpn_1x_coco",
    "gfl": "gfl/gfl_r50_fpn_1x_coco",
    "mask_rcnn": "mask_rcnn/mask-rcnn_r50_fpn_1x_coco",
    "paa": "paa/paa_r50_fpn_1x_coco",
    "rtmdet": "rtmdet/rtmdet_tiny_8xb32-300e_coco",
    "sparse_rcnn": "sparse_rcnn/sparse-rcnn_r50_fpn_1x_coco",
    "yolof": "yolof/yolof_r50-c5_8xb8-1x_coco",
    "yolov3": "yolo/yolov3_d53_8xb8-320-273e_coco",
    "yolox": "yolox/yolox_tiny_8xb8-300e_coco",
}

# Those whose losses remember what they have seen.
REMEMBERING = {
    "dynamic_rcnn": "dynamic_rcnn/dynamic-rcnn_r50_fpn_1x_coco",
    "ghm": "ghm/retinanet_r50_fpn_ghm-1x_coco",
}


def tiny(family: str, *, classes: int = 3) -> dict[str, Any]:
    """The ``model`` of a family's config, narrow and shallow."""
    model = shipped_model((FAMILIES | REMEMBERING)[family], num_classes=classes)
    if family in ("yolox", "rtmdet"):
        _narrow_csp(model)
    elif family == "yolov3":
        _narrow_yolo(model)
    else:
        stages = model["backbone"]["out_indices"]
        model["backbone"] = dict(type="ResNet", depth=18, base_channels=8, stem_channels=8, out_indices=stages)
        neck = model["neck"]
        levels = neck["in_channels"]
        neck["in_channels"] = [STAGES[w] for w in levels] if isinstance(levels, list) else STAGES[levels]
        widths = {1024: 32, 2048: 32} if family in WIDE else WIDTHS
        for key in ("bbox_head", "rpn_head", "roi_head", "encoder", "decoder", "positional_encoding"):
            if key in model:
                model[key] = _narrow(model[key], widths)
        model["neck"] = {**_narrow(neck, widths), "in_channels": neck["in_channels"]}
    for node in _dicts(model):
        node.pop("init_cfg", None)
        if node.get("type") == "SyncBN":
            node["type"] = "BN"
        if node.get("num_groups") == 32:
            node["num_groups"] = 4
    if "roi_head" in model:  # as many proposals as there is time for
        for node in _dicts(model):
            node.update({key: 40 for key in ("nms_pre", "max_per_img", "num_proposals") if key in node})
            if node.get("type") in ("RandomSampler", "OHEMSampler"):
                node["num"] = 24
    if "num_queries" in model:
        model["num_queries"], model["test_cfg"] = 12, dict(max_per_img=12)
        model["bbox_head"]["embed_dims"] = 256 if family in WIDE else 16
    if model.get("bbox_head", {}).get("type") in GROUPED:
        model["bbox_head"]["norm_cfg"] = dict(type="GN", num_groups=4)
    return model


def _narrow_yolo(model: dict[str, Any]) -> None:
    model["backbone"] = dict(type="ResNet", depth=18, base_channels=8, stem_channels=8, out_indices=(1, 2, 3))
    model["neck"] |= dict(in_channels=[64, 32, 16], out_channels=[32, 16, 8])
    model["bbox_head"] |= dict(in_channels=[32, 16, 8], out_channels=[32, 16, 8])


def _narrow_csp(model: dict[str, Any]) -> None:
    model["backbone"] |= dict(deepen_factor=0.33, widen_factor=0.125)
    model["neck"] |= dict(in_channels=[32, 64, 128], out_channels=16, num_csp_blocks=1)
    model["bbox_head"] |= dict(in_channels=16, feat_channels=16, stacked_convs=1)


def _narrow(node: Any, widths: dict[int, int], key: str = "") -> Any:
    if isinstance(node, dict):
        return {name: _narrow(value, widths, name) for name, value in node.items()}
    if isinstance(node, (list, tuple)) and key not in KEPT:
        return type(node)(_narrow(value, widths, key) for value in node)
    if key in KEPT or isinstance(node, bool) or not isinstance(node, int):
        return node
    return {"num_layers": 2, "stacked_convs": 1}.get(key, widths.get(node, node))


def _dicts(node: Any) -> list[dict[str, Any]]:
    if isinstance(node, dict):
        return [node, *(d for value in node.values() for d in _dicts(value))]
    return [d for value in node for d in _dicts(value)] if isinstance(node, (list, tuple)) else []
