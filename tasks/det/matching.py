"""Which objects of an image are detected: by the rule of Pascal VOC, among detections of some score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import box_iou

LEAST_SCORE, IOU = 0.3, 0.5
LAST = torch.tensor([0.0, 0.0, 1.0, 1.0])  # box sides count their last pixel


def inside_crowds(boxes: Tensor, annotation: Any, *, labels: Tensor | None = None) -> Tensor:
    """Which boxes ``[K, 4]`` lie inside a crowd by a share of ``IOU`` of their own area, bool ``[K]``; COCO's rule.

    Args:
        boxes: in pixels of the original image.
        annotation: of the image; only where its difficult objects are crowds is anything inside.
        labels: classes of the boxes, int64 ``[K]``, which then are to be the crowds'; None leaves classes aside.
    """
    crowds = annotation.difficult if annotation.crowds else torch.zeros_like(annotation.difficult)
    if not len(boxes) or not bool(crowds.any()):
        return torch.zeros(len(boxes), dtype=torch.bool)
    boxes, regions = boxes.float() + LAST, annotation.boxes[crowds].float() + LAST
    sides = torch.minimum(boxes[:, None, 2:], regions[:, 2:]) - torch.maximum(boxes[:, None, :2], regions[:, :2])
    share = sides.clamp_min(0).prod(2) / (boxes[:, 2:] - boxes[:, :2]).prod(1, keepdim=True)
    alike = torch.ones_like(share, dtype=torch.bool) if labels is None else labels[:, None] == annotation.labels[crowds]
    return ((share >= IOU) & alike).any(1)


@dataclass(frozen=True)
class Matching:
    """The K detections of an image that count, and what they find.

    A detection is about the object of its class that it overlaps most, and finds it where their IoU is at least
    ``IOU`` and no better detection has. Sides count their last pixel, as for VOC's mAP. Like there, detections of
    difficult objects are neither right nor false alarms; nor are those inside crowds (:func:`inside_crowds`) that find
    nothing.

    Attributes:
        order: positions of the detections with a score of at least ``LEAST_SCORE``, best first, int64 ``[K]``.
        objects: position of the object that each finds, -1 where it finds none, int64 ``[K]``.
        ignored: which are about a difficult object, or inside a crowd and find nothing, bool ``[K]``.
        detected: which of the image's n objects are found, bool ``[n]``; never difficult ones.
    """

    order: Tensor
    objects: Tensor
    ignored: Tensor
    detected: Tensor

    @classmethod
    def of(cls, prediction: dict[str, Tensor], annotation: Any, *, any_class: bool = False) -> Matching:
        """From predictions and annotation of an image, both in pixels of the original image.

        Args:
            prediction: of the image.
            annotation: likewise.
            any_class: leave the classes aside: a detection is about the object that it overlaps most.
        """
        order = prediction["scores"].argsort(descending=True, stable=True)
        order = order[prediction["scores"][order] >= LEAST_SCORE]
        objects, ignored = torch.full_like(order, -1), torch.zeros_like(order, dtype=torch.bool)
        detected = torch.zeros(len(annotation.labels), dtype=torch.bool)
        if len(order) and len(detected):
            boxes, labels = prediction["boxes"][order], prediction["labels"][order]
            overlap = box_iou(boxes.float() + LAST, annotation.boxes.float() + LAST)
            if not any_class:
                overlap *= labels[:, None] == annotation.labels
            if annotation.crowds:
                overlap *= ~annotation.difficult  # an object comes before the crowd around it
            for i, (iou, best) in enumerate(zip(*(column.tolist() for column in overlap.max(1)))):
                if iou < IOU:
                    continue
                ignored[i] = annotation.difficult[best]
                if not ignored[i] and not detected[best]:
                    objects[i], detected[best] = best, True
            inside = inside_crowds(boxes, annotation, labels=None if any_class else labels)
            ignored |= inside & (objects < 0)
        return cls(order, objects, ignored, detected)
