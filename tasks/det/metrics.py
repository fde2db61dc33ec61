"""Detection: mean average precision as Pascal VOC and as COCO measure it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from natx.errors import DataError
from natx.evaluation.metric import Metric
from natx.evaluation.robust import CLEAN
from natx.evaluation.sets import attacked_positions
from natx.registry import METRICS
from tasks.det.picture import Found, Scene, draw_scenes
from tasks.det.precision import Detections, coco, voc07

EXAMPLES = 4
NAMED = 5


@METRICS.register_module()
class DetectionMAP(Metric):
    """Mean average precision (%) of boxes, in pixels of the original images.

    ``mAP`` is Pascal VOC 2007's: at an IoU of 0.5 the mean of the precisions at recalls of 0, 0.1, ..., 1. Box sides
    count their last pixel (x2 - x1 + 1), as in the VOC devkit and mmdet's ``VOCMetric``; difficult objects are
    neither to be found nor false alarms. ``AP`` and ``AP50`` are COCO's, for objects of any size and at most 100
    detections of a class in an image: the mean over IoU 0.50, 0.55, ..., 0.95, and that at 0.5. Box sides are x2 - x1
    there, and difficult objects are "crowds", as mmdet's ``CocoMetric`` has them. Classes without an object to find
    count in none of the means.

    The data set has ``annotations``, one :class:`tasks.det.datasets.Annotation` an image, and ``classes``.

    Matching and means are mmdet's and pycocotools' own.
    """

    cell = ("mAP",)

    def __call__(self, predictions: Detections, dataset: Any) -> dict[str, float]:
        """``mAP``, ``AP`` and ``AP50``.

        Args:
            predictions: per image ``boxes`` ``[K, 4]`` (x1, y1, x2, y2), ``scores`` ``[K]`` and ``labels`` ``[K]``.
            dataset: the test set.

        Raises:
            DataError: predictions that are not finite, of a class that is none or not as many as images; or no object
                to find in the whole set.
        """
        check(predictions, dataset)
        setting = {"annotations": dataset.annotations, "classes": len(dataset.classes)}
        precision = voc07(predictions, **setting)
        if not precision:
            raise DataError("no image of the test set has an object to find: mAP is not defined")
        ap, ap50 = coco(predictions, **setting)
        return {"mAP": 100 * sum(precision.values()) / len(precision), "AP": 100 * ap, "AP50": 100 * ap50}

    def notes(self, dataset: Any) -> list[str]:
        """How many images have nothing to detect, and which classes no image has."""
        counts = [_wanted(annotation) for annotation in dataset.annotations]
        notes = []
        if empty := sum(not len(labels) for labels in counts):
            have, they = ("has", "it stays") if empty == 1 else ("have", "they stay")
            notes.append(
                f"{empty} of {len(counts)} images {have} no objects (not attackable: nothing to detect); {they} in mAP"
            )
        present = set(torch.cat(counts).tolist()) if counts else set()
        absent = [name for label, name in enumerate(dataset.classes) if label not in present]
        if absent:
            more = f" and {len(absent) - NAMED} more" if len(absent) > NAMED else ""
            notes.append(f"classes without an object, left out of the means: {', '.join(absent[:NAMED])}{more}")
        return notes

    def draw(self, path: Path, dataset: Any, columns: dict[str, tuple[Detections, Tensor]]) -> bool:
        """Draw the first images with their detections, the perturbation magnified, and the attacked images.

        Args:
            path: where to write the picture (PNG).
            dataset: the test set.
            columns: per column the predictions of all images and the pixels ``[n, 3, H, W]`` in [0,1] of the first
                images that are attacked; the first two columns are drawn.
        """
        chosen = list(columns.items())[:2]
        positions = attacked_positions(dataset)
        count = min([EXAMPLES, len(positions), *(len(pixels) for _, (_, pixels) in chosen)])
        if not chosen or not count:
            return False
        rows = []
        for row, position in enumerate(positions[:count]):
            annotation = dataset.annotations[position]
            height, width = annotation.shape
            scenes = []
            for name, (predictions, pixels) in chosen:
                found = Found.of(predictions[position], annotation)
                title = "clean" if name == CLEAN else name
                scenes.append(Scene(title, pixels[row, :, :height, :width].detach().float().cpu(), found))
            rows.append(scenes)
        draw_scenes(path, rows, classes=dataset.classes)
        return True


def check(predictions: Detections, dataset: Any) -> None:
    """Raise DataError where detections are not as many as images, not finite, or of a class that is none."""
    if len(predictions) != len(dataset.annotations):
        raise DataError(
            f"DetectionMAP needs detections of each of {len(dataset.annotations)} images; got {len(predictions)}"
        )
    for i, found in enumerate(predictions):
        boxes, scores, labels = found["boxes"], found["scores"], found["labels"]
        if boxes.shape != (len(scores), 4) or labels.shape != scores.shape or scores.dim() != 1:
            raise DataError(
                f"image {i}: boxes [K, 4], scores [K] and labels [K] are needed; got {list(boxes.shape)}, "
                f"{list(scores.shape)} and {list(labels.shape)}"
            )
        if not bool(torch.isfinite(boxes).all() & torch.isfinite(scores).all()):
            raise DataError(
                f"image {i}: the model predicts NaN or infinite boxes or scores: its weights are damaged, nothing was "
                "judged"
            )
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(dataset.classes):
            raise DataError(f"image {i}: a detection is of a class outside 0..{len(dataset.classes) - 1}")


def _wanted(annotation: Any) -> Tensor:
    return annotation.labels[~annotation.difficult].cpu()
