"""Made-up detections and objects, and average precision by plain loops and by pycocotools as it is meant to be used."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor

from tasks.det.datasets import Annotation


def objects(*items: tuple[list[float], int] | tuple[list[float], int, bool], shape: Any = (100, 100)) -> Annotation:
    """An image's (box, label, difficult) on a canvas of its own size."""
    boxes = torch.tensor([item[0] for item in items]).float().reshape(-1, 4)
    labels = torch.tensor([item[1] for item in items], dtype=torch.int64)
    difficult = torch.tensor([len(item) > 2 and item[2] for item in items], dtype=torch.bool)
    return Annotation(boxes, labels, difficult, shape=shape, original=shape, scale=(1.0, 1.0), path="")


def found(*items: tuple[list[float], int, float]) -> dict[str, Tensor]:
    """Detections of an image as (box, label, score)."""
    boxes = torch.tensor([item[0] for item in items]).float().reshape(-1, 4)
    scores, labels = torch.tensor([item[2] for item in items]), torch.tensor([item[1] for item in items])
    return {"boxes": boxes, "scores": scores.float(), "labels": labels.to(torch.int64)}


class Pictures:
    """What the metric needs of a detection set."""

    def __init__(self, annotations: tuple[Annotation, ...], classes: int) -> None:
        self.annotations, self.classes = list(annotations), tuple(f"class{i}" for i in range(classes))

    def __len__(self) -> int:
        return len(self.annotations)


def dataset(*annotations: Annotation, classes: int = 2) -> Pictures:
    return Pictures(annotations, classes)


def random_set(seed: int, *, images: int = 12, classes: int = 4) -> tuple[list[dict[str, Tensor]], Pictures]:
    """Objects of which some are difficult, with jittered detections of most of them, duplicates and false alarms."""
    rng = np.random.default_rng(seed)
    truths, predictions = [], []
    for _ in range(images):
        corner, size = rng.uniform(0, 60, (rng.integers(0, 5), 2)), rng.uniform(8, 40, 2)
        boxes = np.concatenate([corner, corner + size], 1)
        labels = rng.integers(0, classes, len(boxes))
        truths.append(objects(*[(b.tolist(), int(y), rng.random() < 0.25) for b, y in zip(boxes, labels)]))
        items = []
        for box, label in zip(boxes, labels):
            for _ in range(rng.integers(0, 4)):
                label = int(label) if rng.random() < 0.8 else int(rng.integers(0, classes))
                items.append(((box + rng.normal(0, 3, 4)).tolist(), label, float(rng.random())))
        for start in rng.uniform(0, 60, (rng.integers(0, 3), 2)):
            box = [*start, *(start + rng.uniform(5, 40, 2))]
            items.append((box, int(rng.integers(0, classes)), float(rng.random())))
        predictions.append(found(*items))
    return predictions, dataset(*truths, classes=classes)


def overlap(a: list[float], b: list[float]) -> float:
    """IoU of boxes whose x2 and y2 are the last pixels inside."""
    wide, tall = min(a[2], b[2]) - max(a[0], b[0]) + 1, min(a[3], b[3]) - max(a[1], b[1]) + 1
    shared = max(wide, 0) * max(tall, 0)
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)]
    return shared / (sum(areas) - shared)


def eleven_points(predictions: list[dict[str, Tensor]], data: Pictures) -> float:
    """VOC 2007's mAP (%) in plain loops, from its description."""
    means = []
    for label in range(len(data.classes)):
        truths = [
            [(box, bool(hard)) for box, y, hard in zip(a.boxes.tolist(), a.labels, a.difficult) if y == label]
            for a in data.annotations
        ]
        count = sum(not hard for image in truths for _, hard in image)
        if not count:
            continue
        mine = [
            (float(score), image, box)
            for image, one in enumerate(predictions)
            for box, score, y in zip(one["boxes"].tolist(), one["scores"], one["labels"])
            if y == label
        ]
        taken, hits, alarms, curve = set(), 0, 0, []
        for _, image, box in sorted(mine, key=lambda item: -item[0]):
            overlaps = [overlap(box, other) for other, _ in truths[image]]
            best = max(range(len(overlaps)), key=overlaps.__getitem__, default=None)
            if best is None or overlaps[best] < 0.5:
                alarms += 1
            elif truths[image][best][1]:
                continue
            elif (image, best) in taken:
                alarms += 1
            else:
                taken.add((image, best))
                hits += 1
            curve.append((hits / count, hits / (hits + alarms)))
        # As numpy.arange gives them: 0.30000000000000004 is not reached by 3 of 10, there and in mmdet.
        levels = [0.1 * i for i in range(11)]
        means.append(sum(max((p for r, p in curve if r >= level), default=0.0) for level in levels) / 11)
    return 100 * sum(means) / len(means)


def reference_coco(predictions: list[dict[str, Tensor]], data: Pictures, *, classes: bool = True) -> np.ndarray:
    """pycocotools used as its own demonstration does: a result list, all its settings, and the summary."""

    def xywh(box: list[float]) -> list[float]:
        return [box[0], box[1], box[2] - box[0], box[3] - box[1]]

    truth, truths, results = COCO(), [], []
    for image, (a, one) in enumerate(zip(data.annotations, predictions), start=100):
        for box, y, hard in zip(a.boxes.tolist(), a.labels.tolist(), a.difficult.tolist()):
            box = xywh(box)
            base = {"id": len(truths) + 7, "image_id": image, "category_id": y + 5, "bbox": box}
            truths.append(base | {"area": box[2] * box[3], "iscrowd": int(hard)})
        for box, y, score in zip(one["boxes"].tolist(), one["labels"].tolist(), one["scores"].tolist()):
            results.append({"image_id": image, "category_id": y + 5, "bbox": xywh(box), "score": score})
    truth.dataset = {
        "images": [{"id": image + 100} for image in range(len(predictions))],
        "categories": [{"id": y + 5} for y in range(len(data.classes))],
        "annotations": truths,
    }
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.params.useCats = int(classes)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats
