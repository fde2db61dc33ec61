"""The detections of a class in a whole set as one list, best first, and its precision on any resample of the images.

Which detection is right is decided by mmdet's and pycocotools' own steps, without their process pools and printing.
Predictions are dicts and truths annotations as :class:`tasks.det.metrics.DetectionMAP` describes them.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.sparse import coo_array
from torch import Tensor

from tasks.det.matching import inside_crowds

IOU = 0.5  # of Pascal VOC
IOUS = tuple(np.linspace(0.5, 0.95, 10))  # of COCO
MOST = 100  # detections of each class that COCO looks at in an image
ELEVEN = np.arange(0, 1 + 1e-3, 0.1)  # the recalls of VOC 2007, as mmdet has them
HUNDRED = np.linspace(0.0, 1.0, 101)  # those of COCO
Detections = Sequence[dict[str, Tensor]]


@dataclass(frozen=True)
class Ranked:
    """K detections of a class, best first, without those that count neither way (of difficult objects, of crowds).

    Attributes:
        image: the position of the image of each, int64 ``[K]``.
        score: float64 ``[K]``.
        right: which find an object; the others are false alarms; bool ``[K]``.
        objects: how many objects each of the N images has to find, float64 ``[N]``.
    """

    image: np.ndarray
    score: np.ndarray
    right: np.ndarray
    objects: np.ndarray


def average_precision(ranked: Ranked, weights: np.ndarray, recalls: np.ndarray) -> np.ndarray:
    """The interpolated average precision in [0,1] on R resamples of the images, ``[R]``; NaN without objects.

    The mean over ``recalls`` of the largest precision at that recall or above it. An image that a resample has twice
    is there twice with all that is on it.

    Args:
        ranked: the detections.
        weights: how often each resample has each image, float64 ``[N, R]``.
        recalls: ascending, in [0,1].
    """
    objects = ranked.objects @ weights
    hits = np.cumsum(weights[ranked.image[ranked.right]], axis=0)  # [T, R]: precision is largest where recall grows
    if not len(hits):
        return np.where(objects > 0, 0.0, np.nan)
    # False alarms by the next hit after them; those after the last one change nothing.
    following = np.cumsum(ranked.right)
    wrong = ~ranked.right & (following < len(hits))
    places = (following[wrong], ranked.image[wrong])
    before = coo_array((np.ones(len(places[0])), places), shape=(len(hits), len(weights))).tocsr()
    alarms = np.cumsum(before @ weights, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(hits > 0, hits / (hits + alarms), 0.0)
        recall = np.where(objects > 0, hits / objects, np.nan)
    envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    reached = np.searchsorted(recalls, recall, side="right")  # recalls up to each hit's; NaN reaches all
    gained = np.diff(reached, axis=0, prepend=0)
    return np.where(objects > 0, (envelope * gained).sum(0) / len(recalls), np.nan)


def mean_precision(classes: Sequence[Ranked], weights: np.ndarray, recalls: np.ndarray) -> np.ndarray:
    """The mean over the classes with an object of :func:`average_precision`, ``[R]``; NaN without any."""
    each = np.stack([average_precision(ranked, weights, recalls) for ranked in classes])
    present = ~np.isnan(each)
    with np.errstate(invalid="ignore"):
        mean: np.ndarray = np.where(present, each, 0.0).sum(0) / present.sum(0)
    return mean


def voc_ranked(predictions: Detections, annotations: Sequence[Any], *, classes: int) -> list[Ranked]:
    """A list a class at VOC's IoU, from the steps of mmdet's ``eval_map``, which runs them in a pool.

    Deviation: detections inside COCO's crowds, which VOC has not, count neither way.
    """
    from mmdet.evaluation.functional.mean_ap import tpfp_default

    truths = [_objects(annotation) for annotation in annotations]
    predicted = [(_detections(prediction), prediction["labels"].numpy()) for prediction in predictions]
    lists = []
    for label in range(classes):
        count = [float(((labels == label) & ~difficult).sum()) for _, labels, difficult in truths]
        image, score, right, wrong = [np.zeros(0, int)], [np.zeros(0)], [np.zeros(0)], [np.zeros(0)]
        for i, ((boxes, labels, difficult), (detections, kinds)) in enumerate(zip(truths, predicted)):
            candidates, of_class = detections[kinds == label], labels == label
            if not len(candidates):
                continue
            tp, fp = tpfp_default(
                candidates,
                boxes[of_class & ~difficult],
                boxes[of_class & difficult & (not annotations[i].crowds)],
                iou_thr=IOU,
                use_legacy_coordinate=True,
            )
            if annotations[i].crowds:
                kind = torch.full((len(candidates),), label)
                fp *= ~inside_crowds(torch.from_numpy(candidates[:, :4]), annotations[i], labels=kind).numpy()
            for parts, part in ((image, np.full(len(candidates), i)), (score, candidates[:, 4]), (right, tp[0])):
                parts.append(part)
            wrong.append(fp[0])
        whole = [np.concatenate(parts) for parts in (image, score, right, wrong)]
        lists.append(_ranked(whole[0], whole[1], whole[2], whole[3], np.array(count)))
    return lists


def coco_ranked(
    predictions: Detections,
    annotations: Sequence[Any],
    *,
    classes: int,
    any_class: bool = False,
    ious: Sequence[float] = IOUS,
) -> list[list[Ranked]]:
    """For each IoU a list a class, matched by pycocotools, whose printing is swallowed.

    Args:
        predictions: of every image.
        annotations: likewise; difficult objects are its crowds.
        classes: how many there are.
        any_class: leave the classes aside (``useCats = 0``): one list for all.
        ious: at which detections find objects.
    """
    evaluation = _matched(predictions, annotations, classes=classes, any_class=any_class, ious=ious)
    images = len(predictions)
    by_iou: list[list[Ranked]] = [[] for _ in ious]
    for first in range(0, len(evaluation.evalImgs), images):  # a class after the other, all images of each
        entries = [(i, one) for i, one in enumerate(evaluation.evalImgs[first : first + images]) if one is not None]
        objects = np.zeros(images)
        for i, one in entries:
            objects[i] = np.count_nonzero(one["gtIgnore"] == 0)
        image = np.repeat([i for i, _ in entries], [len(one["dtScores"]) for _, one in entries]).astype(int)
        score = np.concatenate([np.zeros(0), *(one["dtScores"] for _, one in entries)])
        for place, lists in enumerate(by_iou):
            matched = np.concatenate([np.zeros(0), *(one["dtMatches"][place] for _, one in entries)]) > 0
            ignored = np.concatenate([np.zeros(0), *(one["dtIgnore"][place] for _, one in entries)]) > 0
            lists.append(_ranked(image, score, matched & ~ignored, ~matched & ~ignored, objects))
    return by_iou


def _ranked(image: np.ndarray, score: np.ndarray, right: np.ndarray, wrong: np.ndarray, objects: np.ndarray) -> Ranked:
    """The list of detections that are right or wrong, best first; equals in the order of the images."""
    order = np.argsort(-score, kind="stable")
    order = order[(right + wrong)[order] > 0]
    return Ranked(image[order], score[order].astype(float), right[order] > 0, objects)


def _matched(
    predictions: Detections, annotations: Sequence[Any], *, classes: int, any_class: bool, ious: Sequence[float]
) -> Any:
    """pycocotools' evaluation after its matching."""
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
        evaluation.params.maxDets, evaluation.params.useCats = [MOST], int(not any_class)
        evaluation.params.iouThrs = np.array(ious)
        evaluation.evaluate()
    return evaluation


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
