"""Detection: mean average precision as Pascal VOC and as COCO measure it, and what an attack did to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from natx.errors import DataError
from natx.evaluation.metric import Metric
from natx.evaluation.robust import CLEAN
from natx.evaluation.statistics import Interval, resampled, spread
from natx.registry import METRICS
from tasks.det.matching import IOU, LEAST_SCORE, Matching
from tasks.det.picture import Marks, Scene, draw_scenes
from tasks.det.ranked import Detections
from tasks.det.tallies import MEANINGS, UNITS, Tallies, false_alarms, image_harm

NAMED = 5


@METRICS.register_module()
class DetectionMAP(Metric):
    """Mean average precision (%) of boxes, in pixels of the original images, and what it is made of.

    ``mAP`` is Pascal VOC 2007's: at an IoU of 0.5 the mean of the precisions at recalls of 0, 0.1, ..., 1. Box sides
    count their last pixel (x2 - x1 + 1), as in the VOC devkit and mmdet's ``VOCMetric``; difficult objects are
    neither to be found nor false alarms. ``AP`` and ``AP50`` are COCO's, for objects of any size and at most 100
    detections of a class in an image: the mean over IoU 0.50, 0.55, ..., 0.95, and that at 0.5. Box sides are x2 - x1
    there, and difficult objects are "crowds", as mmdet's ``CocoMetric`` has them. Classes without an object to find
    count in none of the means.

    The others hold localisation and classification apart: COCO's AP without classes, AP50 with one of the two put
    right (:mod:`tasks.det.corrected`), and at the score that counts the share of objects on which a detection of any
    class lies, the share of these that have the right class, and false alarms an image. Their meanings are in
    :data:`tasks.det.tallies.MEANINGS`.

    Images without an object to find are not attackable: they stay in the means, as the model sees them without attack,
    and out of success rates. An attack fools an image where an object that the model found without it
    (:class:`tasks.det.matching.Matching`: its class, an IoU of 0.5, a score of 0.3) is no longer found.

    mAP has no worst case per image, as it is a value of the whole set. What comes next to it takes of each image the
    detections of the column that harms it most (:func:`tasks.det.tallies.image_harm`), and measures these together.

    The data set has ``annotations``, one :class:`tasks.det.datasets.Annotation` an image, and ``classes``.

    Matching is mmdet's and pycocotools' own.

    Source: to tell localisation from classification errors under attack is from Winter et al. 2026 (arXiv:2602.16494,
    there AP_loc and a classification success ratio); the corrections are those of TIDE (Bolya et al., ECCV 2020).
    """

    cell = ("mAP",)
    meanings, units = MEANINGS, UNITS
    worst_rule = (
        "takes of each image the detections under the attack, or without any, that leave the lowest average precision "
        "on it (all its detections as one list, IoU 0.5; where equal, the most false alarms by summed score), and "
        "measures these together: mAP itself has no worst case per image"
    )

    def __call__(self, predictions: Detections, dataset: Any) -> dict[str, float]:
        """The values of :data:`tasks.det.tallies.MEANINGS`; without ``classified`` where no object is located.

        Args:
            predictions: per image ``boxes`` ``[K, 4]`` (x1, y1, x2, y2), ``scores`` ``[K]`` and ``labels`` ``[K]``.
            dataset: the test set.

        Raises:
            DataError: predictions that are not finite, of a class that is none or not as many as images; or no object
                to find in the whole set.
        """
        return _values(_tallies(predictions, dataset))

    def with_intervals(self, predictions: Detections, dataset: Any) -> tuple[dict[str, float], dict[str, Interval]]:
        """See :meth:`Metric.with_intervals`: the bootstrap over the images, whose detections are matched once."""
        tallies = _tallies(predictions, dataset)
        values, intervals = _values(tallies), {}
        for name, samples in tallies.values(resampled(len(predictions))).items():
            if name in values and (ends := spread(samples, values[name])) is not None:
                most = np.inf if name in UNITS else 100.0
                intervals[name] = (min(max(ends[0], 0.0), most), min(max(ends[1], 0.0), most))
        return values, intervals

    def harm(self, predictions: Detections, dataset: Any) -> list[tuple[float, float]]:
        """See :meth:`Metric.harm` and :func:`tasks.det.tallies.image_harm`."""
        return image_harm(predictions, dataset.annotations, classes=len(dataset.classes))

    def alarms(self, predictions: Detections, dataset: Any) -> Tensor:
        """See :meth:`Metric.alarms`: detections of a score of at least 0.3 that find no object."""
        return torch.from_numpy(false_alarms(predictions, dataset.annotations))

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


def _tallies(predictions: Detections, dataset: Any) -> Tallies:
    """What is counted of the predictions; raises DataError where they or the set are not in order."""
    check(predictions, dataset)
    tallies = Tallies.of(predictions, dataset.annotations, classes=len(dataset.classes))
    if not tallies.objects.any():
        raise DataError("no image of the test set has an object to find: mAP is not defined")
    return tallies


def _values(tallies: Tallies) -> dict[str, float]:
    """The values on the images as they are, but those that are not defined (:data:`tasks.det.tallies.MEANINGS`)."""
    values = {name: float(value[0]) for name, value in tallies.values(np.ones((len(tallies.objects), 1))).items()}
    return {name: value for name, value in values.items() if not np.isnan(value)}


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
