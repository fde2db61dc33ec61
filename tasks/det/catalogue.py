"""Which of mmdet's models work: ``python -m tasks.det.catalogue [NAME ...]`` tries them and writes docs/det.md's table.

Each is built from the config that mmdet ships, with random weights, trains a step on one image, is attacked with a step
on all its losses, and predicts. The table is written after each model; rows of names that are not given stay.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import torch

from natx.attacks import PGD
from natx.config import CHECKOUT
from natx.data.base import brief
from natx.errors import ConfigError, UserError
from natx.objectives import ImageLoss
from natx.runtime.files import write_text
from natx.runtime.progress import say
from tasks.det import DetectionTask
from tasks.det.datasets import Annotation

PAGE = CHECKOUT / "docs" / "det.md"
BEGIN, END = "<!-- models: python -m tasks.det.catalogue -->", "<!-- end of models -->"
HEAD = "| mmdet's config | reader | NAT | losses of an image, or why not |\n|---|---|---|---|\n"
SIDE, CLASSES = 256, 20
# What mmdet raises where a model does not work on this machine or without its data.
FAILURES = (UserError, AssertionError, IndexError, RuntimeError, ValueError)
NAMES = (
    "atss/atss_r50_fpn_1x_coco",
    "autoassign/autoassign_r50-caffe_fpn_1x_coco",
    "boxinst/boxinst_r50_fpn_ms-90k_coco",
    "cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco",
    "cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco",
    "centernet/centernet_r18_8xb16-crop512-140e_coco",
    "centernet/centernet-update_r50-caffe_fpn_ms-1x_coco",
    "conditional_detr/conditional-detr_r50_8xb2-50e_coco",
    "convnext/mask-rcnn_convnext-t-p4-w7_fpn_amp-ms-crop-3x_coco",
    "cornernet/cornernet_hourglass104_8xb6-210e-mstest_coco",
    "dab_detr/dab-detr_r50_8xb2-50e_coco",
    "ddod/ddod_r50_fpn_1x_coco",
    "ddq/ddq-detr-4scale_r50_8xb2-12e_coco",
    "deformable_detr/deformable-detr_r50_16xb2-50e_coco",
    "deformable_detr/deformable-detr-refine-twostage_r50_16xb2-50e_coco",
    "detr/detr_r50_8xb2-150e_coco",
    "dino/dino-4scale_r50_8xb2-12e_coco",
    "double_heads/dh-faster-rcnn_r50_fpn_1x_coco",
    "dynamic_rcnn/dynamic-rcnn_r50_fpn_1x_coco",
    "faster_rcnn/faster-rcnn_r50_fpn_1x_coco",
    "fcos/fcos_r50-caffe_fpn_gn-head_1x_coco",
    "foveabox/fovea_r50_fpn_4xb4-1x_coco",
    "free_anchor/freeanchor_r50_fpn_1x_coco",
    "fsaf/fsaf_r50_fpn_1x_coco",
    "gfl/gfl_r50_fpn_1x_coco",
    "ghm/retinanet_r50_fpn_ghm-1x_coco",
    "grid_rcnn/grid-rcnn_r50_fpn_gn-head_1x_coco",
    "htc/htc-without-semantic_r50_fpn_1x_coco",
    "htc/htc_r50_fpn_1x_coco",
    "libra_rcnn/libra-faster-rcnn_r50_fpn_1x_coco",
    "mask_rcnn/mask-rcnn_r50_fpn_1x_coco",
    "nas_fcos/nas-fcos_r50-caffe_fpn_nashead-gn-head_4xb4-1x_coco",
    "paa/paa_r50_fpn_1x_coco",
    "panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco",
    "pisa/retinanet-r50_fpn_pisa_1x_coco",
    "point_rend/point-rend_r50-caffe_fpn_ms-1x_coco",
    "queryinst/queryinst_r50_fpn_1x_coco",
    "reppoints/reppoints-moment_r50_fpn_1x_coco",
    "retinanet/retinanet_r50_fpn_1x_coco",
    "rtmdet/rtmdet_tiny_8xb32-300e_coco",
    "sabl/sabl-retinanet_r50_fpn_1x_coco",
    "sparse_rcnn/sparse-rcnn_r50_fpn_1x_coco",
    "ssd/ssd300_coco",
    "swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco",
    "tood/tood_r50_fpn_1x_coco",
    "tridentnet/tridentnet_r50-caffe_1x_coco",
    "vfnet/vfnet_r50_fpn_1x_coco",
    "yolact/yolact_r50_1xb8-55e_coco",
    "yolo/yolov3_d53_8xb8-320-273e_coco",
    "yolof/yolof_r50-c5_8xb8-1x_coco",
    "yolox/yolox_tiny_8xb8-300e_coco",
)


def attempt(name: str) -> str:
    """The row of a model: what reads it, whether NAT can be trained, its losses; or why it does not work."""
    try:
        task = DetectionTask(name, CLASSES)
        priors = getattr(getattr(task.net, "bbox_head", None), "prior_generator", None)
        side = getattr(priors, "input_size", SIDE)  # SSD takes images of one size
        annotation = Annotation(
            boxes=torch.tensor([[20.0, 30.0, 100.0, 110.0]]),
            labels=torch.tensor([1]),
            difficult=torch.tensor([False]),
            shape=(side, side),
            original=(side, side),
            scale=(1.0, 1.0),
            path="none.png",
        )
        inputs = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
        batch = {"inputs": inputs, "data_samples": [annotation], "index": torch.zeros(1, dtype=torch.int64)}
        task.eval()  # one image has no statistics for batch norm
        sum(task(batch).losses.values()).backward()
        PGD(dict(type="Linf", eps=8 / 255), 1, objective=ImageLoss())(task, batch)
        names = ", ".join(f"`{loss}`" for loss in sorted(task(batch).image_losses))
        task.predict(batch)
    except FAILURES as error:
        reason = str(error).split(":")[0] if isinstance(error, UserError) else brief(error)[:120]
        return f"| `{name}` | none | no | {reason} |"
    return f"| `{name}` | {type(task.reader).__name__.removesuffix('Reader')} | {_nat(task)} | {names} |"


def _nat(task: DetectionTask) -> str:
    try:
        task.check_adversary(task)
    except ConfigError:
        return "no"
    return "yes"


def write(names: Sequence[str]) -> None:
    """Try models and put their rows into the page."""
    for name in names:
        page = PAGE.read_text(encoding="utf-8")
        before, rest = page.split(BEGIN)
        table, after = rest.split(END)
        rows = {line.split("`")[1]: line for line in table.splitlines() if line.startswith("| `")}
        rows[name] = attempt(name)
        say(rows[name])
        lines = "\n".join(rows[key] for key in sorted(rows))
        write_text(PAGE, f"{before}{BEGIN}\n{HEAD}{lines}\n{END}{after}")


if __name__ == "__main__":
    write(sys.argv[1:] or NAMES)
