"""What is counted of a set of detections once, so that every value is known on any resample of the images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.det.corrected import with_right_boxes, with_right_classes
from tasks.det.matching import Matching
from tasks.det.ranked import ELEVEN, HUNDRED, IOU, Detections, Ranked, coco_ranked, mean_precision, voc_ranked

MEANINGS = {
    "mAP": "Pascal VOC 2007's mean average precision: 11 points, IoU 0.5",
    "AP": "COCO's: the mean over IoU 0.50 to 0.95 and the classes",
    "AP50": "COCO's at IoU 0.5",
    "AP any class": "COCO's AP with the classes left aside (useCats = 0): localisation by itself",
    "AP50 class given": (
        "AP50 if every detection on an object (IoU 0.5) had its class: what lies between it and AP50 is lost to wrong "
        "classes"
    ),
    "AP50 box given": (
        "AP50 if every detection near an object of its class (IoU 0.1 to 0.5) had its box: what lies between it and "
        "AP50 is lost to wrong places"
    ),
    "located": "objects on which a detection of any class lies (IoU 0.5, score 0.3)",
    "classified": "of the located objects those whose best detection has their class; empty where none is located",
    "false alarms": "detections with a score of at least 0.3 that find no object, an image",
}
UNITS = {"false alarms": "an image"}


@dataclass(frozen=True)
class Tallies:
    """Counts of C classes and N images.

    Attributes:
        voc: the ranked detections of each class, VOC's way.
        coco: for each of COCO's IoUs the same of all classes.
        any_class: for each IoU the same with the classes left aside.
        class_given: at an IoU of 0.5, of detections with right classes.
        box_given: likewise of those with right boxes.
        objects: objects to find, float64 ``[N]``.
        located: those on which a detection of any class lies, float64 ``[N]``.
        classified: those of them whose best detection has their class, float64 ``[N]``.
        alarms: detections that find nothing, float64 ``[N]``.
    """

    voc: list[Ranked]
    coco: list[list[Ranked]]
    any_class: list[list[Ranked]]
    class_given: list[Ranked]
    box_given: list[Ranked]
    objects: np.ndarray
    located: np.ndarray
    classified: np.ndarray
    alarms: np.ndarray

    @classmethod
    def of(cls, predictions: Detections, annotations: Sequence[Any], *, classes: int) -> Tallies:
        """From the predictions of every image and their annotations."""

        def at_half(change: Any) -> list[Ranked]:
            changed = [change(*pair) for pair in zip(predictions, annotations)]
            return coco_ranked(changed, annotations, classes=classes, ious=(IOU,))[0]

        return cls(
            voc_ranked(predictions, annotations, classes=classes),
            coco_ranked(predictions, annotations, classes=classes),
            coco_ranked(predictions, annotations, classes=classes, any_class=True),
            at_half(with_right_classes),
            at_half(with_right_boxes),
            np.array([float((~annotation.difficult).sum()) for annotation in annotations]),
            *_at_threshold(predictions, annotations),
            false_alarms(predictions, annotations),
        )

    def values(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Every value of :data:`MEANINGS` on R resamples of the images, ``[R]`` each; NaN where it is not defined.

        Args:
            weights: how often each resample has each image, float64 ``[N, R]``.
        """

        def share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
            with np.errstate(divide="ignore", invalid="ignore"):
                quotient: np.ndarray = 100 * (part @ weights) / (whole @ weights)
            return quotient

        coco = [mean_precision(lists, weights, HUNDRED) for lists in self.coco]
        any_class = [mean_precision(lists, weights, HUNDRED) for lists in self.any_class]
        return {
            "mAP": 100 * mean_precision(self.voc, weights, ELEVEN),
            "AP": 100 * np.mean(coco, axis=0),
            "AP50": 100 * coco[0],
            "AP any class": 100 * np.mean(any_class, axis=0),
            "AP50 class given": 100 * mean_precision(self.class_given, weights, HUNDRED),
            "AP50 box given": 100 * mean_precision(self.box_given, weights, HUNDRED),
            "located": share(self.located, self.objects),
            "classified": share(self.classified, self.located),
            "false alarms": (self.alarms @ weights) / weights.sum(0),
        }


def false_alarms(predictions: Detections, annotations: Sequence[Any]) -> np.ndarray:
    """How many detections of each image find no object, nor a difficult one, at the score that counts; float64 [N]."""
    matchings = [Matching.of(*pair) for pair in zip(predictions, annotations)]
    return np.array([float(((one.objects < 0) & ~one.ignored).sum()) for one in matchings])


def _at_threshold(predictions: Detections, annotations: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    """How many objects of each image are located, and how many of these classified."""
    located, classified = [], []
    for prediction, annotation in zip(predictions, annotations):
        places = Matching.of(prediction, annotation, any_class=True)
        finders = places.objects >= 0
        kinds = prediction["labels"][places.order[finders]]
        located.append(float(finders.sum()))
        classified.append(float((kinds == annotation.labels[places.objects[finders]]).sum()))
    return np.array(located), np.array(classified)


def image_harm(predictions: Detections, annotations: Sequence[Any], *, classes: int) -> list[tuple[float, float]]:
    """How little is left of each image: its own average precision, and the summed scores of its false alarms, negative.

    The precision is that of all its detections as one list, whatever their classes, right as VOC's mAP has it; the mean
    over its objects of the largest precision at each or after it. The smaller pair is the greater harm.
    """
    lists = voc_ranked(predictions, annotations, classes=classes)
    image = np.concatenate([np.zeros(0, int), *(one.image for one in lists)])
    score = np.concatenate([np.zeros(0), *(one.score for one in lists)])
    right = np.concatenate([np.zeros(0, bool), *(one.right for one in lists)])
    order = np.lexsort((-score, image))
    bounds = np.searchsorted(image[order], np.arange(len(predictions) + 1))
    harm = []
    for i, annotation in enumerate(annotations):
        of_image = order[bounds[i] : bounds[i + 1]]
        hits, objects = right[of_image], int((~annotation.difficult).sum())
        precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
        best = np.maximum.accumulate(precision[::-1])[::-1]
        harm.append((float(best[hits].sum()) / max(objects, 1), -float(score[of_image][~hits].sum())))
    return harm
