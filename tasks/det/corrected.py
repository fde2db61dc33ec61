"""Detections with one kind of error put right: what average precision would be if an attack had caused that kind alone.

After TIDE (Bolya et al., ECCV 2020), whose fixes of classification and of localisation errors these are.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchvision.ops import box_iou

NEAR = 0.1  # TIDE's: below it a detection is of the background
FOUND = 0.5

Prediction = dict[str, Tensor]


def with_right_classes(prediction: Prediction, annotation: Any) -> Prediction:
    """The detections of an image once those that lie on an object have its class.

    A detection that overlaps no object of its own class by an IoU of ``FOUND``, but objects of others, gets the class
    of the one that it overlaps most. See :func:`_without_duplicates` for what that makes twice; detections that overlap
    difficult objects most stay as they are.
    """
    overlap, own = _overlaps(prediction, annotation)
    if not overlap.numel():
        return prediction
    (best, near), (best_own, near_own) = overlap.max(1), (overlap * own).max(1)
    right = best_own >= FOUND
    wrong = ~right & (best >= FOUND) & ~annotation.difficult[near]
    corrected = {**prediction, "labels": torch.where(wrong, annotation.labels[near], prediction["labels"])}
    return _without_duplicates(corrected, torch.where(right, near_own, near), right=right, corrected=wrong)


def with_right_boxes(prediction: Prediction, annotation: Any) -> Prediction:
    """The detections of an image once those near an object of their class have its box.

    A detection whose largest IoU with objects of its class is at least ``NEAR`` and below ``FOUND`` gets that object's
    box. See :func:`_without_duplicates` for what that makes twice; detections of difficult objects stay as they are.
    """
    overlap, own = _overlaps(prediction, annotation)
    if not overlap.numel():
        return prediction
    best, near = (overlap * own).max(1)
    right = best >= FOUND
    wrong = ~right & (best >= NEAR) & ~annotation.difficult[near]
    boxes = torch.where(wrong[:, None], annotation.boxes[near].to(prediction["boxes"].dtype), prediction["boxes"])
    return _without_duplicates({**prediction, "boxes": boxes}, near, right=right, corrected=wrong)


def _overlaps(prediction: Prediction, annotation: Any) -> tuple[Tensor, Tensor]:
    """IoU of each detection with each object, ``[K, n]``, as COCO measures it, and whether they are of one class."""
    overlap = box_iou(prediction["boxes"].float(), annotation.boxes.float())
    return overlap, prediction["labels"][:, None] == annotation.labels


def _without_duplicates(prediction: Prediction, near: Tensor, *, right: Tensor, corrected: Tensor) -> Prediction:
    """Leave out what a correction would make a duplicate.

    Of the detections of an object only the best one finds it. Corrected ones that are not the best are left out; where
    a corrected one is, the best of those that were right before is. Further detections that were right before are the
    duplicates, and false alarms, that they have been.

    Args:
        prediction: with the correction.
        near: the object that each detection is of, int64 ``[K]``; it counts where ``right`` or ``corrected``.
        right: which found an object's place and class before, bool ``[K]``.
        corrected: which were put right.
    """
    keep = torch.ones_like(right)
    for thing in near[corrected].unique():
        of_it = (near == thing) & (right | corrected)
        order = prediction["scores"].masked_fill(~of_it, -torch.inf).argsort(descending=True, stable=True)
        ranks = order[: int(of_it.sum())]
        keep[ranks[1:][corrected[ranks[1:]]]] = False
        if bool(corrected[ranks[0]]):
            keep[ranks[right[ranks]][:1]] = False
    return {key: values[keep] for key, values in prediction.items()}
