"""Tiny detectors of every family, batches for them, and the same batches as mmdet takes them."""

from __future__ import annotations

from typing import Any

import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import Tensor, nn

from natx.batch import Batch
from tasks.det import DetectionTask
from tasks.det.compat import build_detector
from tasks.det.datasets import Annotation

CLASSES = 3
RGB = dict(type="DetDataPreprocessor", mean=[123.7, 116.3, 103.5], std=[58.4, 57.1, 57.4], bgr_to_rgb=True)
BGR = dict(type="DetDataPreprocessor", mean=[103.5, 116.3, 123.7], std=[1.0, 2.0, 3.0], bgr_to_rgb=False)
COARSE, FINE = (0.1, 0.1, 0.2, 0.2), (1.0, 1.0, 1.0, 1.0)


def backbone(*stages: int) -> dict[str, Any]:
    return dict(type="ResNet", depth=18, base_channels=8, stem_channels=8, out_indices=stages, norm_eval=False)


def coder(stds: tuple[float, ...] = FINE) -> dict[str, Any]:
    return dict(type="DeltaXYWHBBoxCoder", target_means=[0.0] * 4, target_stds=list(stds))


def assigner(positive: float, negative: float, **kwargs: Any) -> dict[str, Any]:
    values = dict(min_pos_iou=0.0, ignore_iof_thr=-1, **kwargs)
    return dict(type="MaxIoUAssigner", pos_iou_thr=positive, neg_iou_thr=negative, **values)


def ssd(classes: int = CLASSES, *, side: int = 128, preprocessor: dict[str, Any] = RGB, **train: Any) -> dict[str, Any]:
    """Levels of stride 16, 32 and 64."""
    anchors = dict(
        type="SSDAnchorGenerator",
        scale_major=False,
        strides=[16, 32, 64],
        ratios=[[2], [2], [2]],
        min_sizes=[16, 40, 64],
        max_sizes=[40, 64, 100],
        input_size=side,
    )
    return dict(
        type="SingleStageDetector",
        data_preprocessor=dict(preprocessor, pad_size_divisor=32),
        backbone=backbone(2, 3),
        neck=dict(
            type="SSDNeck",
            in_channels=(32, 64),
            out_channels=(32, 64, 64),
            level_strides=(2,),
            level_paddings=(1,),
            l2_norm_scale=None,
        ),
        bbox_head=dict(
            type="SSDHead",
            in_channels=(32, 64, 64),
            num_classes=classes,
            anchor_generator=anchors,
            bbox_coder=coder(COARSE),
        ),
        train_cfg=dict(
            assigner=dict(assigner(0.5, 0.5, gt_max_assign_all=False), **train.pop("assigner", {})),
            sampler=dict(type="PseudoSampler"),
            smoothl1_beta=1.0,
            allowed_border=-1,
            pos_weight=-1,
            neg_pos_ratio=3,
            debug=False,
        ),
        test_cfg=dict(
            nms_pre=1000, nms=dict(type="nms", iou_threshold=0.45), min_bbox_size=0, score_thr=0.02, max_per_img=50
        ),
    )


def fpn(stages: int = 3) -> dict[str, Any]:
    return dict(type="FPN", in_channels=[16, 32, 64], out_channels=16, num_outs=stages)


def retina(classes: int = CLASSES, *, preprocessor: dict[str, Any] = RGB, **head: Any) -> dict[str, Any]:
    """Levels of stride 8, 16 and 32."""
    anchors = dict(
        type="AnchorGenerator", octave_base_scale=3, scales_per_octave=2, ratios=[0.5, 1.0, 2.0], strides=[8, 16, 32]
    )
    values = dict(
        type="RetinaHead",
        num_classes=classes,
        in_channels=16,
        feat_channels=16,
        stacked_convs=1,
        anchor_generator=anchors,
        bbox_coder=coder(),
        loss_cls=dict(type="FocalLoss", use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0),
        loss_bbox=dict(type="L1Loss", loss_weight=1.0),
    )
    return dict(
        type="RetinaNet",
        data_preprocessor=dict(preprocessor, pad_size_divisor=32),
        backbone=backbone(1, 2, 3),
        neck=fpn(),
        bbox_head={**values, **head},
        train_cfg=dict(
            assigner=assigner(0.5, 0.4),
            sampler=dict(type="PseudoSampler"),
            allowed_border=-1,
            pos_weight=-1,
            debug=False,
        ),
        test_cfg=dict(
            nms_pre=1000, nms=dict(type="nms", iou_threshold=0.5), min_bbox_size=0, score_thr=0.01, max_per_img=50
        ),
    )


def faster(classes: int = CLASSES, *, preprocessor: dict[str, Any] = RGB, **head: Any) -> dict[str, Any]:
    """Levels of stride 8, 16 and 32; both stages sample fewer boxes than there are."""
    sampler = dict(type="RandomSampler", neg_pos_ub=-1)
    proposals = dict(nms_pre=200, max_per_img=60, nms=dict(type="nms", iou_threshold=0.7), min_bbox_size=0)
    box_head = dict(
        type="Shared2FCBBoxHead",
        in_channels=16,
        fc_out_channels=32,
        roi_feat_size=3,
        num_classes=classes,
        bbox_coder=coder(COARSE),
        reg_class_agnostic=False,
        loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
        loss_bbox=dict(type="L1Loss", loss_weight=1.0),
    )
    anchors = dict(type="AnchorGenerator", scales=[4], ratios=[0.5, 1.0, 2.0], strides=[8, 16, 32])
    return dict(
        type="FasterRCNN",
        data_preprocessor=dict(preprocessor, pad_size_divisor=32),
        backbone=backbone(1, 2, 3),
        neck=fpn(),
        rpn_head=dict(
            type="RPNHead",
            in_channels=16,
            feat_channels=16,
            anchor_generator=anchors,
            bbox_coder=coder(),
            loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=True, loss_weight=1.0),
            loss_bbox=dict(type="L1Loss", loss_weight=1.0),
        ),
        roi_head=dict(
            type="StandardRoIHead",
            bbox_roi_extractor=dict(
                type="SingleRoIExtractor",
                roi_layer=dict(type="RoIAlign", output_size=3, sampling_ratio=0),
                out_channels=16,
                featmap_strides=[8, 16, 32],
            ),
            bbox_head={**box_head, **head},
        ),
        train_cfg=dict(
            rpn=dict(
                assigner=dict(assigner(0.7, 0.3, match_low_quality=True), min_pos_iou=0.3),
                sampler=dict(sampler, num=32, pos_fraction=0.5, add_gt_as_proposals=False),
                allowed_border=-1,
                pos_weight=-1,
                debug=False,
            ),
            rpn_proposal=proposals,
            rcnn=dict(
                assigner=dict(assigner(0.5, 0.5, match_low_quality=False), min_pos_iou=0.5),
                sampler=dict(sampler, num=24, pos_fraction=0.25, add_gt_as_proposals=True),
                pos_weight=-1,
                debug=False,
            ),
        ),
        test_cfg=dict(
            rpn=proposals, rcnn=dict(score_thr=0.05, nms=dict(type="nms", iou_threshold=0.5), max_per_img=50)
        ),
    )


def lively(task: DetectionTask, seed: int = 0) -> DetectionTask:
    """Random heads that say something: mmdet starts them almost at zero."""
    generator = torch.Generator().manual_seed(seed)
    heads = [getattr(task.net, name) for name in ("bbox_head", "rpn_head", "roi_head") if hasattr(task.net, name)]
    for head in heads:
        for name, parameter in head.named_parameters():
            if parameter.dim() > 1:
                scale = 0.5 if "reg" in name else 2.0
                std = scale * parameter[0].numel() ** -0.5
                parameter.data = torch.randn(parameter.shape, generator=generator) * std
            else:
                parameter.data.zero_()
    return task


def detector(config: dict[str, Any], classes: int = CLASSES, *, seed: int = 0) -> DetectionTask:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return lively(DetectionTask(config, classes), seed)


def annotation(
    boxes: list[list[float]],
    labels: list[int],
    *,
    original: tuple[int, int] = (256, 256),
    shape: tuple[int, int] = (128, 128),
    difficult: tuple[int, ...] = (),
) -> Annotation:
    return Annotation(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(labels, dtype=torch.int64),
        torch.tensor([i in difficult for i in range(len(labels))], dtype=torch.bool),
        shape=shape,
        original=original,
        scale=(shape[1] / original[1], shape[0] / original[0]),
        path="none.jpg",
    )


def square_batch() -> Batch:
    """Three images of 128 x 128: two objects and a difficult one, none, one large object."""
    annotations = [
        annotation([[20, 30, 90, 120], [130, 120, 250, 200], [0, 150, 100, 250]], [0, 2, 1], difficult=(2,)),
        annotation([], []),
        annotation([[40, 40, 230, 220]], [1]),
    ]
    return as_batch(annotations, (128, 128))


def mixed_batch() -> Batch:
    """Three images of different sizes on a canvas of 96 x 128, the first of which neither fills nor keeps its shape."""
    annotations = [
        annotation([[10, 20, 90, 150], [70, 10, 110, 60]], [0, 2], original=(160, 120), shape=(92, 68)),
        annotation([[30, 20, 190, 140]], [1], original=(150, 250), shape=(60, 100)),
        annotation([[20, 20, 90, 100], [100, 30, 180, 90]], [2, 0], original=(144, 192), shape=(96, 128)),
    ]
    return as_batch(annotations, (96, 128))


def as_batch(annotations: list[Annotation], canvas: tuple[int, int]) -> Batch:
    generator = torch.Generator().manual_seed(5)
    inputs = torch.randint(0, 256, (len(annotations), 3, *canvas), generator=generator, dtype=torch.uint8)
    for image, shot in zip(inputs, annotations):
        for box, label in zip(shot.resized_boxes.round().int().tolist(), shot.labels.tolist()):
            x1, y1, x2, y2 = box
            image[:, y1:y2, x1:x2] = image[:, y1:y2, x1:x2] // 4
            image[label, y1:y2, x1:x2] += 150
        image[:, shot.shape[0] :] = 0
        image[:, :, shot.shape[1] :] = 0
    return {"inputs": inputs, "data_samples": annotations, "index": torch.arange(len(annotations)) + 40}


def one(batch: Batch, i: int) -> Batch:
    """The batch of image i alone, on the same canvas."""
    return {key: value[i : i + 1] for key, value in batch.items()}


def plain_mmdet(config: dict[str, Any], task: DetectionTask) -> nn.Module:
    """mmdet's own model with the task's weights and its own preprocessing."""
    net = build_detector(config)
    net.load_state_dict(task.upstream.state_dict(), strict=True)
    return net.train(task.training)


def mmdet_data(net: nn.Module, batch: Batch) -> dict[str, Any]:
    """What mmdet's preprocessor makes of the images as its pipelines load them: BGR, uint8, not padded."""
    inputs: list[Tensor] = []
    samples = []
    for image, shot in zip(batch["inputs"], batch["data_samples"]):
        inputs.append(image[:, : shot.shape[0], : shot.shape[1]].flip(0))
        boxes, keep = shot.resized_boxes, ~shot.difficult
        sample = DetDataSample(
            metainfo=dict(img_shape=shot.shape, ori_shape=shot.original, scale_factor=shot.scale, img_id=0)
        )
        sample.gt_instances = InstanceData(bboxes=boxes[keep], labels=shot.labels[keep])
        sample.ignored_instances = InstanceData(bboxes=boxes[~keep], labels=shot.labels[~keep])
        samples.append(sample)
    return net.data_preprocessor(dict(inputs=inputs, data_samples=samples))


def totals(losses: dict[str, Any]) -> dict[str, Tensor]:
    """mmdet's losses, their levels or images added up; other scalars left out."""
    return {
        name: sum(value) if isinstance(value, (list, tuple)) else value
        for name, value in losses.items()
        if "loss" in name
    }
