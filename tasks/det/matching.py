"""Which objects of an image are detected: by the rule of Pascal VOC, among detections of some score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import box_iou

LEAST_SCORE, IOU = 0.3, 0.5


@dataclass(frozen=True)
class Matching:
    """The K detections of an image that count, and what they find.

    A detection is about the object of its class that it overlaps most, and finds it where their IoU is at least
    ``IOU`` and no better detection has. Sides count their last pixel, as for VOC's mAP. Like there, detections of
    difficult objects are neither right nor false alarms.

    Attributes:
        order: positions of the detections with a score of at least ``LEAST_SCORE``, best first, int64 ``[K]``.
        objects: position of the object that each finds, -1 where it finds none, int64 ``[K]``.
        ignored: which are about a difficult object, bool ``[K]``.
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
            last = torch.tensor([0.0, 0.0, 1.0, 1.0])
            overlap = box_iou(prediction["boxes"][order].float() + last, annotation.boxes.float() + last)
            if not any_class:
                overlap *= prediction["labels"][order][:, None] == annotation.labels
            for i, (iou, best) in enumerate(zip(*(column.tolist() for column in overlap.max(1)))):
                if iou < IOU:
                    continue
                ignored[i] = annotation.difficult[best]
                if not ignored[i] and not detected[best]:
                    objects[i], detected[best] = best, True
        return cls(order, objects, ignored, detected)
