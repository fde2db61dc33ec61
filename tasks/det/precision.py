"""Average precision of detections by mmdet's and pycocotools' own steps, without their process pools and printing.

Predictions are dicts and truths annotations as :class:`tasks.det.metrics.DetectionMAP` describes them.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

IOU = 0.5  # of Pascal VOC
MOST = 100  # detections of each class that COCO looks at in an image
Detections = Sequence[dict[str, Tensor]]


def voc07(predictions: Detections, annotations: Sequence[Any], *, classes: int) -> dict[int, float]:
    """11-point average precision in [0,1] of every class that has an object to find.

    mmdet's ``eval_map`` is these same steps, inside a pool of processes.
    """
    from mmdet.evaluation.functional.mean_ap import average_precision, tpfp_default

    truths = [_objects(annotation) for annotation in annotations]
    predicted = [(_detections(prediction), prediction["labels"].numpy()) for prediction in predictions]
    result = {}
    for label in range(classes):
        objects = sum(int(((labels == label) & ~difficult).sum()) for _, labels, difficult in truths)
        if not objects:
            continue
        scores, right, wrong = [np.zeros(0)], [np.zeros(0)], [np.zeros(0)]
        for (boxes, labels, difficult), (detections, kinds) in zip(truths, predicted):
            candidates, of_class = detections[kinds == label], labels == label
            if not len(candidates):
                continue
            tp, fp = tpfp_default(
                candidates,
                boxes[of_class & ~difficult],
                boxes[of_class & difficult],
                iou_thr=IOU,
                use_legacy_coordinate=True,
            )
            scores.append(candidates[:, 4])
            right.append(tp[0])
            wrong.append(fp[0])
        order = np.argsort(-np.concatenate(scores), kind="stable")
        tp, fp = (np.concatenate(parts)[order].cumsum() for parts in (right, wrong))
        # Detections of difficult objects are neither: the first ones can have nothing to divide by.
        precision = tp / np.maximum(tp + fp, np.finfo(np.float32).eps)
        result[label] = float(average_precision(tp / objects, precision, mode="11points"))
    return result


def coco(predictions: Detections, annotations: Sequence[Any], *, classes: int) -> tuple[float, float]:
    """COCO's AP and AP50 in [0,1] by pycocotools, whose printing is swallowed."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truths: list[dict[str, Any]] = []
    predicted: list[dict[str, Any]] = []
    for image, (annotation, prediction) in enumerate(zip(annotations, predictions)):
        for box, label, difficult in zip(*_objects(annotation)):
            truths.append(_entry(len(truths), image, box, label=label) | {"iscrowd": int(difficult), "ignore": 0})
        for box, label in zip(_detections(prediction), prediction["labels"].numpy()):
            predicted.append(_entry(len(predicted), image, box, label=label) | {"iscrowd": 0, "score": float(box[4])})
    with contextlib.redirect_stdout(io.StringIO()):
        sets = []
        for entries in (truths, predicted):
            index = COCO()
            index.dataset = {
                "images": [{"id": image} for image in range(len(predictions))],
                "categories": [{"id": label} for label in range(classes)],
                "annotations": entries,
            }
            index.createIndex()
            sets.append(index)
        evaluation = COCOeval(*sets, iouType="bbox")
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.params.maxDets = [MOST]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"]  # [IoU, recall, class, 1, 1]; -1 for a class without objects
    valid = precision[:, :, precision[0, 0, :, 0, 0] > -1]
    return float(valid.mean()), float(valid[0].mean())


def _entry(number: int, image: int, box: np.ndarray, *, label: int) -> dict[str, Any]:
    """What COCO knows of a box; its numbers count from 1, since 0 says that nothing was matched."""
    x1, y1, x2, y2 = (float(value) for value in box[:4])
    size = [x2 - x1, y2 - y1]
    return {
        "id": number + 1,
        "image_id": image,
        "category_id": int(label),
        "bbox": [x1, y1, *size],
        "area": size[0] * size[1],
    }


def _objects(annotation: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return annotation.boxes.cpu().numpy(), annotation.labels.cpu().numpy(), annotation.difficult.cpu().numpy()


def _detections(prediction: dict[str, Tensor]) -> np.ndarray:
    """Boxes and scores as mmdet's functions take them, ``[K, 5]``."""
    boxes, scores = prediction["boxes"], prediction["scores"]
    return torch.cat([boxes, scores[:, None].to(boxes.dtype)], 1).float().numpy()
