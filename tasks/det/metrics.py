"""Detection: mean average precision as Pascal VOC and as COCO measure it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from natx.errors import DataError
from natx.evaluation.metric import Metric
from natx.evaluation.robust import CLEAN
from natx.registry import METRICS
from tasks.det.matching import IOU, LEAST_SCORE, Matching
from tasks.det.picture import Marks, Scene, draw_scenes
from tasks.det.precision import Detections, coco, voc07

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

    Images without an object to find are not attackable: they stay in the means, as the model sees them without attack,
    and out of success rates. An attack fools an image where an object that the model found without it
    (:class:`tasks.det.matching.Matching`: its class, an IoU of 0.5, a score of 0.3) is no longer found.

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
        annotations, classes = dataset.annotations, len(dataset.classes)
        precision = voc07(predictions, annotations, classes=classes)
        if not precision:
            raise DataError("no image of the test set has an object to find: mAP is not defined")
        ap, ap50 = coco(predictions, annotations, classes=classes)
        return {"mAP": 100 * sum(precision.values()) / len(precision), "AP": 100 * ap, "AP50": 100 * ap50}

    def attackable(self, dataset: Any) -> Tensor:
        """Images with an object to find."""
        return torch.tensor([len(_targets(annotation)) > 0 for annotation in dataset.annotations], dtype=torch.bool)

    def fooled(self, clean: Detections, attacked: Detections, *, dataset: Any) -> tuple[Tensor, Tensor]:
        """Images of which an object is found, and those of them of which one of these objects is no longer found."""
        before, after = _detected(clean, dataset), _detected(attacked, dataset)
        fooled = torch.tensor([bool((was & ~still).any()) for was, still in zip(before, after)], dtype=torch.bool)
        return _any(before), fooled

    def notes(self, dataset: Any, predictions: Detections) -> list[str]:
        """How many images have nothing to detect or nothing found, and which classes no image has."""
        targets = [_targets(annotation) for annotation in dataset.annotations]
        notes = []
        if empty := sum(not len(labels) for labels in targets):
            have, they = ("has", "it stays") if empty == 1 else ("have", "they stay")
            notes.append(
                f"{empty} of {len(targets)} images {have} no object to find: not attackable, so not attacked and in no "
                f"success rate; {they} in mAP"
            )
        notes.append(
            f"an attack fools an image where an object that is found without attack (its class, IoU {IOU}, score "
            f"{LEAST_SCORE}) is no longer found"
        )
        full = len(targets) - empty
        if blind := full - int(_any(_detected(predictions, dataset)).sum()):
            notes.append(
                f"in {blind} of {full} images with an object to find none is found without attack: in no success rate"
            )
        present = set(torch.cat(targets).tolist()) if targets else set()
        absent = [name for label, name in enumerate(dataset.classes) if label not in present]
        if absent:
            more = f" and {len(absent) - NAMED} more" if len(absent) > NAMED else ""
            notes.append(f"classes without an object, left out of the means: {', '.join(absent[:NAMED])}{more}")
        return notes

    def draw(
        self,
        path: Path,
        dataset: Any,
        *,
        positions: Sequence[int],
        columns: dict[str, tuple[Detections, Sequence[Tensor]]],
    ) -> bool:
        """Draw images with their detections, the perturbation magnified, and the attacked images; see the base class.

        The first two columns are drawn.
        """
        if not columns or not len(positions):
            return False
        rows = []
        for row, position in enumerate(positions):
            annotation = dataset.annotations[position]
            height, width = annotation.shape
            scenes = []
            for name, (predictions, pixels) in list(columns.items())[:2]:
                marks = Marks.of(predictions[position], annotation)
                title = "clean" if name == CLEAN else name
                scenes.append(Scene(title, pixels[row][:, :height, :width].detach().float().cpu(), marks))
            rows.append(scenes)
        draw_scenes(path, rows, classes=dataset.classes)
        return True


def check(predictions: Detections, dataset: Any) -> None:
    """Raise DataError where detections are not as many as images, not finite, or of a class that is none."""
    if len(predictions) != len(dataset.annotations):
        raise DataError(
            f"DetectionMAP needs detections of each of {len(dataset.annotations)} images; got {len(predictions)}"
        )
    for i, detections in enumerate(predictions):
        boxes, scores, labels = detections["boxes"], detections["scores"], detections["labels"]
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


def _targets(annotation: Any) -> Tensor:
    """Classes of the objects that are to be found."""
    return annotation.labels[~annotation.difficult].cpu()


def _detected(predictions: Detections, dataset: Any) -> list[Tensor]:
    """Which objects of each image are found, bool ``[n]`` each."""
    return [Matching.of(*pair).detected for pair in zip(predictions, dataset.annotations)]


def _any(masks: Sequence[Tensor]) -> Tensor:
    """Which images have an object that is found, bool ``[N]``."""
    return torch.tensor([bool(mask.any()) for mask in masks], dtype=torch.bool)
