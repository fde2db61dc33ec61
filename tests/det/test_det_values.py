"""What an attack did to a detector: localisation and classification apart, false alarms, harm and resampled images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from made_detections import Pictures, dataset, eleven_points, found, objects, overlap, random_set, reference_coco
from torch import Tensor

from natx.evaluation.statistics import resampled
from tasks.det.corrected import with_right_boxes, with_right_classes
from tasks.det.metrics import DetectionMAP
from tasks.det.ranked import ELEVEN, HUNDRED, IOUS, average_precision, coco_ranked, mean_precision, voc_ranked
from tasks.det.tallies import Tallies, image_harm

BOX, FAR = [10.0, 10.0, 29.0, 29.0], [60.0, 60.0, 79.0, 79.0]
NEAR = [20.0, 10.0, 39.0, 29.0]  # shifted by 10 of 19: an IoU of 9/29 with BOX
CLASSES = 4
Predictions = list[dict[str, Tensor]]


def clean_set(seed: int) -> tuple[Predictions, Pictures]:
    """A random set without difficult objects, whose rule differs between VOC and COCO."""
    predictions, data = random_set(seed, images=14)
    for annotation in data.annotations:
        annotation.difficult[:] = False
    return predictions, data


# --- average precision -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_ap_of_any_class_equals_pycocotools_without_categories(seed: int) -> None:
    predictions, data = random_set(seed)
    stats, values = reference_coco(predictions, data, classes=False), DetectionMAP()(predictions, data)
    assert values["AP any class"] == pytest.approx(100 * stats[0], abs=1e-9)
    assert abs(values["AP any class"] - values["AP"]) > 0.1


@pytest.mark.parametrize("seed", range(3))
def test_a_resample_has_the_precision_of_a_set_with_its_images_repeated(seed: int) -> None:
    predictions, data = random_set(seed)
    weights = resampled(len(predictions), resamples=3)
    assert weights.shape == (12, 3) and weights.sum(0).tolist() == [12, 12, 12] and weights.max() > 1
    tallies = Tallies.of(predictions, data.annotations, classes=CLASSES)
    values = tallies.values(weights)
    for sample in range(3):
        positions = np.repeat(np.arange(12), weights[:, sample].astype(int)).tolist()
        repeated = [predictions[i] for i in positions]
        whole = Pictures(tuple(data.annotations[i] for i in positions), CLASSES)
        assert values["mAP"][sample] == pytest.approx(eleven_points(repeated, whole), abs=1e-4)
        stats = reference_coco(repeated, whole)
        assert (values["AP"][sample], values["AP50"][sample]) == pytest.approx((100 * stats[0], 100 * stats[1]))
        stats = reference_coco(repeated, whole, classes=False)
        assert values["AP any class"][sample] == pytest.approx(100 * stats[0])
        again = DetectionMAP()(repeated, whole)
        for name in ("AP50 class given", "AP50 box given", "located", "classified", "false alarms"):
            assert values[name][sample] == pytest.approx(again[name])


def test_classes_that_a_resample_lacks_are_left_out_of_its_mean() -> None:
    truth = dataset(objects((BOX, 0)), objects((FAR, 1)))
    ranked = voc_ranked([found((BOX, 0, 0.9)), found()], truth.annotations, classes=2)
    weights = np.array([[1.0, 2.0, 0.0], [1.0, 0.0, 2.0]])
    assert mean_precision(ranked, weights, ELEVEN).tolist() == [0.5, 1.0, 0.0]
    first = average_precision(ranked[0], weights, ELEVEN)
    assert first[:2].tolist() == [1.0, 1.0] and np.isnan(first[2])
    by_iou = coco_ranked([found(), found()], truth.annotations, classes=2, ious=IOUS)
    assert len(by_iou) == 10 and mean_precision(by_iou[0], weights, HUNDRED).tolist() == [0, 0, 0]


# --- one kind of error put right -------------------------------------------------------------------------------------


def share(a: list[float], b: list[float]) -> float:
    """IoU of boxes whose sides are x2 - x1."""
    wide, tall = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(wide, 0) * max(tall, 0)
    return shared / (sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)) - shared)


def put_right(prediction: dict[str, Tensor], annotation: Any, *, what: str) -> dict[str, Tensor]:
    """The detections of an image with right classes or boxes, in plain loops: object by object."""
    boxes, labels = prediction["boxes"].tolist(), prediction["labels"].tolist()
    things, kinds = annotation.boxes.tolist(), annotation.labels.tolist()
    claims: dict[int, list[tuple[int, bool]]] = {}  # by object: detections, and whether they were wrong
    for d, (box, label) in enumerate(zip(boxes, labels)):
        ious = [share(box, thing) for thing in things]
        own = [iou if kind == label else 0.0 for iou, kind in zip(ious, kinds)]
        if own and max(own) >= 0.5:
            claims.setdefault(own.index(max(own)), []).append((d, False))
        elif what == "class" and ious and max(ious) >= 0.5:
            claims.setdefault(ious.index(max(ious)), []).append((d, True))
        elif what == "box" and own and max(own) >= 0.1:
            claims.setdefault(own.index(max(own)), []).append((d, True))
    gone = set()
    for thing, several in claims.items():
        best = max(several, key=lambda one: float(prediction["scores"][one[0]]))
        for d, wrong in several:
            if wrong:
                boxes[d] = things[thing] if what == "box" else boxes[d]
                labels[d] = kinds[thing]
                gone |= {d} if d != best[0] else set()
        if best[1]:
            rest = [d for d, wrong in several if not wrong]
            gone |= {max(rest, key=lambda d: float(prediction["scores"][d]))} if rest else set()
    rows = [d for d in range(len(boxes)) if d not in gone]
    return found(*[(boxes[d], labels[d], float(prediction["scores"][d])) for d in rows])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("what", ["class", "box"])
def test_right_classes_and_boxes_equal_plain_loops(seed: int, what: str) -> None:
    predictions, data = clean_set(seed)
    changed = [put_right(*pair, what=what) for pair in zip(predictions, data.annotations)]
    values, expected = DetectionMAP()(predictions, data), 100 * reference_coco(changed, data)[1]
    assert values[f"AP50 {what} given"] == pytest.approx(expected, abs=1e-6)
    assert expected > values["AP50"] + 0.1


def test_a_wrong_class_or_place_costs_what_its_correction_gives_back() -> None:
    truth = dataset(objects((BOX, 0), (FAR, 1)))
    metric = DetectionMAP()
    other = metric([found((BOX, 1, 0.9), (FAR, 1, 0.8))], truth)
    assert other["AP50"] < other["AP50 class given"] == pytest.approx(100)
    assert other["AP50 box given"] == other["AP50"] and other["AP any class"] == pytest.approx(100)
    assert (other["located"], other["classified"], other["false alarms"]) == (100, 50, 1)
    moved = metric([found((NEAR, 0, 0.9), (FAR, 1, 0.8))], truth)
    assert moved["AP50"] < moved["AP50 box given"] == pytest.approx(100)
    assert moved["AP50 class given"] == moved["AP50"] and moved["located"] == 50 and moved["classified"] == 100
    nothing = metric([found((BOX, 0, 0.1), (FAR, 1, 0.1))], truth)  # below the score that counts
    assert nothing["AP50"] == pytest.approx(100) and nothing["located"] == 0 and "classified" not in nothing


def test_what_a_correction_makes_twice_is_left_out_and_other_duplicates_stay() -> None:
    truth = objects((BOX, 0))
    labels = with_right_classes(found((BOX, 1, 0.9), (BOX, 0, 0.8), (BOX, 0, 0.7), (BOX, 2, 0.6)), truth)
    assert labels["scores"].tolist() == pytest.approx([0.9, 0.7]) and labels["labels"].tolist() == [0, 0]
    boxes = with_right_boxes(found((NEAR, 0, 0.5), (BOX, 0, 0.8), (NEAR, 1, 0.9)), truth)
    assert boxes["scores"].tolist() == pytest.approx([0.8, 0.9]) and boxes["boxes"].tolist() == [BOX, NEAR]
    hard = objects((BOX, 0, True))
    assert with_right_classes(found((BOX, 1, 0.9)), hard)["labels"].tolist() == [1]
    assert with_right_boxes(found((NEAR, 0, 0.9)), hard)["boxes"].tolist() == [NEAR]
    assert len(with_right_classes(found(), truth)["scores"]) == 0
    assert len(with_right_boxes(found((BOX, 0, 0.9)), objects())["scores"]) == 1


# --- at the score that counts ----------------------------------------------------------------------------------------


def counted(prediction: dict[str, Tensor], annotation: Any, *, any_class: bool) -> tuple[list[tuple[int, int]], int]:
    """Pairs of a detection of score 0.3 and the object that it finds, as VOC has it, in plain loops; false alarms."""
    rows = [d for d, score in enumerate(prediction["scores"].tolist()) if score >= 0.3]
    pairs: list[tuple[int, int]] = []
    alarms = 0
    for d in sorted(rows, key=lambda d: -float(prediction["scores"][d])):
        ious = [
            overlap(prediction["boxes"][d].tolist(), thing) if any_class or kind == int(prediction["labels"][d]) else 0
            for thing, kind in zip(annotation.boxes.tolist(), annotation.labels.tolist())
        ]
        best = ious.index(max(ious)) if ious else -1
        if best < 0 or ious[best] < 0.5 or (not annotation.difficult[best] and best in [thing for _, thing in pairs]):
            alarms += 1
        elif not annotation.difficult[best]:
            pairs.append((d, best))
    return pairs, alarms


@pytest.mark.parametrize("seed", range(4))
def test_located_classified_and_false_alarms_equal_plain_loops(seed: int) -> None:
    predictions, data = random_set(seed)
    places = [counted(*pair, any_class=True)[0] for pair in zip(predictions, data.annotations)]
    right = sum(
        int(one["labels"][d]) == int(annotation.labels[thing])
        for one, annotation, pairs in zip(predictions, data.annotations, places)
        for d, thing in pairs
    )
    count, objects_there = sum(map(len, places)), sum(int((~a.difficult).sum()) for a in data.annotations)
    alarms = [counted(*pair, any_class=False)[1] for pair in zip(predictions, data.annotations)]
    values = DetectionMAP()(predictions, data)
    assert values["located"] == pytest.approx(100 * count / objects_there) and 0 < count < objects_there
    assert values["classified"] == pytest.approx(100 * right / count) and 0 < right < count
    assert values["false alarms"] == pytest.approx(sum(alarms) / len(alarms)) and sum(alarms) > 0
    assert DetectionMAP().alarms(predictions, data).tolist() == alarms


# --- harm to an image ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_harm_equals_plain_loops(seed: int) -> None:
    predictions, data = clean_set(seed)
    for annotation, one, (left, alarms) in zip(
        data.annotations, predictions, image_harm(predictions, data.annotations, classes=CLASSES)
    ):
        pairs: list[int] = []
        curve, wrong = [], 0.0
        order = sorted(range(len(one["scores"])), key=lambda d: -float(one["scores"][d]))
        for rank, d in enumerate(order, start=1):
            ious = [
                overlap(one["boxes"][d].tolist(), thing) if kind == int(one["labels"][d]) else 0.0
                for thing, kind in zip(annotation.boxes.tolist(), annotation.labels.tolist())
            ]
            best = ious.index(max(ious)) if ious else -1
            hit = best >= 0 and ious[best] >= 0.5 and best not in pairs
            pairs += [best] if hit else []
            wrong += 0.0 if hit else float(one["scores"][d])
            curve.append((hit, len(pairs) / rank))
        expected = sum(max(p for _, p in curve[i:]) for i, (hit, _) in enumerate(curve) if hit)
        assert left == pytest.approx(expected / max(len(annotation.labels), 1), abs=1e-9)
        assert alarms == pytest.approx(-wrong, abs=1e-5)


def test_the_greater_harm_is_less_precision_and_then_more_false_alarms() -> None:
    truth = dataset(objects((BOX, 0)), classes=2)

    def harm(*items: Any) -> tuple[float, float]:
        (one,) = DetectionMAP().harm([found(*items)], truth)
        return one

    perfect, weak, alarm, moved = harm((BOX, 0, 0.9)), harm((BOX, 0, 0.05)), harm((BOX, 0, 0.5), (FAR, 0, 0.9)), harm()
    assert perfect == weak == (1.0, 0.0)
    assert moved < alarm < perfect
    assert harm((FAR, 0, 0.9)) < moved  # nothing is found either way
    assert harm((BOX, 0, 0.9), (FAR, 1, 0.8)) < perfect  # an alarm of a class that no image of the set has


# --- intervals -------------------------------------------------------------------------------------------------------


def test_intervals_hold_every_value_and_are_the_same_again() -> None:
    predictions, data = random_set(5, images=40)
    metric = DetectionMAP()
    values, intervals = metric.with_intervals(predictions, data)
    assert values == metric(predictions, data) and intervals == metric.with_intervals(predictions, data)[1]
    assert intervals.keys() == values.keys() == metric.meanings.keys()
    for name, (low, high) in intervals.items():
        assert 0 <= low < values[name] < high, name
    alarms = metric.alarms(predictions, data).double()
    error = 1.96 * float(alarms.std()) / 40**0.5
    low, high = intervals["false alarms"]
    assert (values["false alarms"] - low, high - values["false alarms"]) == pytest.approx((error, error), rel=0.15)
    fewer = metric.with_intervals(predictions[:10], Pictures(tuple(data.annotations[:10]), CLASSES))[1]
    assert fewer["mAP"][1] - fewer["mAP"][0] > 1.4 * (intervals["mAP"][1] - intervals["mAP"][0])


def test_a_perfect_detector_has_no_spread_and_one_that_locates_nothing_no_share_of_it() -> None:
    truth = [objects((BOX, 0), (FAR, 1)), objects((FAR, 0))]
    perfect = [found((BOX, 0, 0.9), (FAR, 1, 0.8)), found((FAR, 0, 0.7))]
    intervals = DetectionMAP().with_intervals(perfect, dataset(*truth))[1]
    assert intervals["mAP"] == pytest.approx((100, 100)) and intervals["false alarms"] == (0, 0)
    values, intervals = DetectionMAP().with_intervals([found(), found()], dataset(*truth))
    assert "classified" not in values and "classified" not in intervals and values["located"] == 0


def test_the_bootstrap_works_on_lists_that_are_matched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    once = Tallies.of.__func__  # type: ignore[attr-defined]

    def noting(cls: type, *arguments: Any, **settings: Any) -> Tallies:
        calls.append(1)
        return once(cls, *arguments, **settings)

    monkeypatch.setattr(Tallies, "of", classmethod(noting))
    DetectionMAP().with_intervals(*random_set(1))
    assert calls == [1]
    assert torch.equal(torch.tensor(resampled(7)), torch.tensor(resampled(7)))
