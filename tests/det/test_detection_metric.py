from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_detections import dataset, eleven_points, found, objects, random_set, reference_coco
from PIL import Image
from torch import Tensor

from natx.data.classes import align_classes
from natx.errors import DataError
from natx.registry import METRICS
from tasks.det.datasets import Annotation, GeneratedVOC, VOCDetection
from tasks.det.matching import Matching
from tasks.det.metrics import DetectionMAP
from tasks.det.picture import Marks, Scene, draw_scenes

RIGHT, WRONG, MISSED = (0x1A, 0x8A, 0x1A), (0xD0, 0x1C, 0x1C), (0xFF, 0xD4, 0x00)


def value(predictions: list[dict[str, Tensor]], *annotations: Annotation, classes: int = 2) -> float:
    return DetectionMAP()(predictions, dataset(*annotations, classes=classes))["mAP"]


@pytest.mark.parametrize("seed", range(8))
def test_map_equals_plain_loops(seed: int) -> None:
    predictions, data = random_set(seed)
    expected = eleven_points(predictions, data)
    assert 3 < expected < 97
    assert DetectionMAP()(predictions, data)["mAP"] == pytest.approx(expected, abs=1e-4)


class Here:
    """A pool that works in its own process."""

    def __init__(self, _: int) -> None:
        pass

    def starmap(self, function: Any, arguments: Any) -> list[Any]:
        return [function(*one) for one in arguments]

    def close(self) -> None:
        pass


def test_map_is_that_of_mmdet_for_voc(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the settings of its VOCMetric (11 points, last pixels counted)."""
    from mmdet.evaluation.functional import eval_map  # here: tasks.det makes mmdet importable

    monkeypatch.setattr("mmdet.evaluation.functional.mean_ap.Pool", Here)
    for seed in range(4):
        predictions, data = random_set(seed)
        together = [torch.cat([one["boxes"], one["scores"][:, None]], 1).numpy() for one in predictions]
        results = [
            [boxes[one["labels"].numpy() == y] for y in range(len(data.classes))]
            for boxes, one in zip(together, predictions)
        ]
        truths = []
        for a in data.annotations:
            easy, hard = ~a.difficult, a.difficult
            names = ("bboxes", "labels", "bboxes_ignore", "labels_ignore")
            values = (a.boxes[easy], a.labels[easy], a.boxes[hard], a.labels[hard])
            truths.append({name: value.numpy() for name, value in zip(names, values)})
        settings = dict(iou_thr=0.5, logger="silent", eval_mode="11points", use_legacy_coordinate=True)
        expected, _ = eval_map(results, truths, **settings)
        assert DetectionMAP()(predictions, data)["mAP"] == pytest.approx(100 * expected, abs=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_ap_equals_pycocotools(seed: int) -> None:
    predictions, data = random_set(seed)
    stats = reference_coco(predictions, data)
    values = DetectionMAP()(predictions, data)
    assert (values["AP"], values["AP50"]) == pytest.approx((100 * stats[0], 100 * stats[1]), abs=1e-9)
    assert 1 < values["AP"] < values["AP50"] < 99


BOX = [10.0, 10.0, 29.0, 29.0]  # 20 x 20 pixels
FAR = [60.0, 60.0, 79.0, 79.0]


def test_perfect_detections_score_100_and_none_score_0() -> None:
    truth = [objects((BOX, 0), (FAR, 1)), objects((FAR, 0))]
    perfect = [found((BOX, 0, 0.9), (FAR, 1, 0.8)), found((FAR, 0, 0.7))]
    values = DetectionMAP()(perfect, dataset(*truth))
    assert values.pop("false alarms") == 0
    assert len(values) == 8 and values == pytest.approx(dict.fromkeys(values, 100))
    values = DetectionMAP()([found(), found()], dataset(*truth))
    assert len(values) == 8 and set(values.values()) == {0}  # "classified" is a share of the objects that are located


def test_a_second_detection_of_an_object_is_a_false_alarm() -> None:
    truth = objects((BOX, 0), (FAR, 0))
    twice = found((BOX, 0, 0.9), (BOX, 0, 0.8), (FAR, 0, 0.7))
    # Precision 1 up to recall 0.5 (6 of the 11 points), then 2/3.
    assert value([twice], truth) == pytest.approx(100 * (6 + 5 * 2 / 3) / 11)
    assert value([found((BOX, 0, 0.9), (FAR, 0, 0.7), (BOX, 0, 0.6))], truth) == pytest.approx(100)


def test_difficult_objects_are_neither_to_be_found_nor_false_alarms() -> None:
    truth = objects((BOX, 0), (FAR, 0, True))
    assert value([found((BOX, 0, 0.5))], truth) == pytest.approx(100)
    assert value([found((FAR, 0, 0.9), (FAR, 0, 0.8), (BOX, 0, 0.5))], truth) == pytest.approx(100)
    assert value([found((FAR, 1, 0.9), (BOX, 0, 0.5))], truth) == pytest.approx(100)  # class 1 has no object
    apart = objects((BOX, 0), (BOX, 1))
    assert value([found((BOX, 0, 0.9), (FAR, 1, 0.9), (BOX, 1, 0.8))], apart) == pytest.approx(75)


@pytest.mark.parametrize(("shift", "hit"), [(6, True), (7, False)])
def test_an_iou_of_a_half_is_enough(shift: int, hit: bool) -> None:
    """Shifted by 6 of 20 pixels the IoU is 14/26; by 7 it is 13/27, where x2 - x1 would give less for both."""
    moved = [BOX[0] + shift, BOX[1], BOX[2] + shift, BOX[3]]
    assert value([found((moved, 0, 0.9))], objects((BOX, 0))) == (100 if hit else 0)


def test_the_edge_counts_its_last_pixel() -> None:
    """8 of 16 pixels' width: an IoU of exactly a half, which x2 - x1 would call 7/15."""
    truth, half = [0.0, 0.0, 15.0, 9.0], [0.0, 0.0, 7.0, 9.0]
    values = DetectionMAP()([found((half, 0, 0.9))], dataset(objects((truth, 0))))
    assert values["mAP"] == 100 and values["AP50"] == 0


def test_classes_without_objects_are_left_out_and_said() -> None:
    data = dataset(objects((BOX, 0)), objects(), objects((FAR, 2, True)), classes=9)
    assert DetectionMAP()([found((BOX, 0, 0.5)), found((BOX, 1, 0.9)), found()], data)["mAP"] == 100
    predictions = [found((BOX, 0, 0.5)), found((BOX, 0, 0.5)), found((FAR, 2, 0.5))]
    first, second, third = DetectionMAP().notes(data, predictions)
    assert first == (
        "2 of 3 images have no object to find: not attackable, so not attacked and in no success rate; they stay in mAP"
    )
    assert second == FOOLS
    assert third == (
        "classes without an object, left out of the means: class1, class2, class3, class4, class5 and 3 more"
    )
    assert DetectionMAP().notes(dataset(objects((BOX, 0)), classes=1), [found((BOX, 0, 0.5))]) == [FOOLS]


# ---------------------------------------------------------------------- what is attackable, and when an image is fooled

FOOLS = (
    "an attack fools an image where an object that is found without attack (its class, IoU 0.5, score 0.3) is no "
    "longer found"
)


def test_images_with_an_object_that_is_not_difficult_are_attackable() -> None:
    data = dataset(objects((BOX, 0)), objects(), objects((BOX, 0, True)), objects((BOX, 0, True), (FAR, 1)))
    assert DetectionMAP().attackable(data).tolist() == [True, False, False, True]


def outcome(
    truth: Annotation, clean: dict[str, Tensor], attacked: dict[str, Tensor], *, classes: int = 2
) -> tuple[bool, bool]:
    """Whether an image has something to lose, and whether it loses it."""
    at_stake, fooled = DetectionMAP().fooled([clean], [attacked], dataset=dataset(truth, classes=classes))
    assert at_stake.dtype == fooled.dtype == torch.bool and at_stake.shape == fooled.shape == (1,)
    return bool(at_stake), bool(fooled)


NEAR = [14.0, 10.0, 33.0, 29.0]  # shifted by 4 of 20 pixels: an IoU of 2/3 with BOX
TRUTH = objects((BOX, 0), (FAR, 1))
BOTH = found((BOX, 0, 0.9), (FAR, 1, 0.8))


@pytest.mark.parametrize(
    ("attacked", "fooled"),
    [
        (BOTH, False),
        (found((NEAR, 0, 0.3), (FAR, 1, 0.3)), False),  # moved and weaker, but found; false alarms do not matter
        (found((BOX, 0, 0.9), (FAR, 1, 0.8), ([0.0, 50, 9, 59], 0, 0.99)), False),
        (found((BOX, 0, 0.9)), True),
        (found((BOX, 0, 0.9), (FAR, 1, 0.29)), True),  # too weak
        (found((BOX, 0, 0.9), (FAR, 0, 0.8)), True),  # another class
        (found((BOX, 0, 0.9), ([67.0, 60, 86, 79], 1, 0.8)), True),  # an IoU of 13/27
        (found((BOX, 0, 0.9), ([66.0, 60, 85, 79], 1, 0.8)), False),  # an IoU of 14/26
        (found(), True),
    ],
)
def test_an_image_is_fooled_where_an_object_is_no_longer_found(attacked: dict[str, Tensor], fooled: bool) -> None:
    assert outcome(TRUTH, BOTH, attacked) == (True, fooled)


def test_only_objects_that_are_found_without_attack_can_be_lost() -> None:
    assert outcome(TRUTH, found((FAR, 1, 0.8)), found((FAR, 1, 0.8))) == (True, False)
    assert outcome(TRUTH, found((FAR, 1, 0.8)), found((BOX, 0, 0.9))) == (True, True)
    assert outcome(TRUTH, found((FAR, 1, 0.2), (BOX, 1, 0.9)), found()) == (False, False)
    assert outcome(objects(), BOTH, found()) == (False, False)
    assert outcome(objects((BOX, 0, True)), BOTH, found()) == (False, False)  # nobody asks for it


def test_a_detection_finds_one_object_and_an_object_is_found_once() -> None:
    twins = objects((BOX, 0), (NEAR, 0))
    assert outcome(twins, found((BOX, 0, 0.9), (NEAR, 0, 0.8)), found((BOX, 0, 0.9))) == (True, True)
    # Both detections are about the first object: the second one was never found.
    assert outcome(twins, found((BOX, 0, 0.9), (BOX, 0, 0.8)), found((BOX, 0, 0.9))) == (True, False)


def test_rates_of_a_set_counted_by_hand() -> None:
    """Five images: fooled, spared, nothing found without attack, no object, fooled although a difficult one stays."""
    hard = objects((BOX, 0, True), (FAR, 1))
    data = dataset(TRUTH, TRUTH, TRUTH, objects(), hard)
    clean = [BOTH, BOTH, found((BOX, 1, 0.9)), BOTH, BOTH]
    attacked = [found((BOX, 0, 0.9)), BOTH, found(), found(), found((BOX, 0, 0.9))]
    at_stake, fooled = DetectionMAP().fooled(clean, attacked, dataset=data)
    assert at_stake.tolist() == [True, True, False, False, True]
    assert fooled.tolist() == [True, False, False, False, True]
    assert DetectionMAP().notes(data, clean) == [
        "1 of 5 images has no object to find: not attackable, so not attacked and in no success rate; it stays in mAP",
        FOOLS,
        "in 1 of 4 images with an object to find none is found without attack: in no success rate",
    ]


@pytest.mark.parametrize("seed", range(6))
def test_what_is_found_is_a_true_positive_of_mmdets_map(seed: int) -> None:
    """Of the detections with a score of 0.3 and more, class by class."""
    from mmdet.evaluation.functional.mean_ap import tpfp_default

    predictions, data = random_set(seed)
    for prediction, truth in zip(predictions, data.annotations):
        mine = Matching.of(prediction, truth)
        right = mine.order[mine.objects >= 0].tolist()
        expected, alarms = [], []
        for label in range(len(data.classes)):
            kept = ((prediction["labels"] == label) & (prediction["scores"] >= 0.3)).nonzero().squeeze(1)
            boxes = torch.cat([prediction["boxes"][kept], prediction["scores"][kept, None]], 1).numpy()
            own = truth.labels == label
            asked, spared = (truth.boxes[own & which].numpy() for which in (~truth.difficult, truth.difficult))
            tp, fp = tpfp_default(boxes, asked, spared, iou_thr=0.5, use_legacy_coordinate=True)
            expected += kept[torch.from_numpy(tp[0] > 0)].tolist()
            alarms += kept[torch.from_numpy(fp[0] > 0)].tolist()
        assert sorted(right) == sorted(expected)
        assert sorted(mine.order[(mine.objects < 0) & ~mine.ignored].tolist()) == sorted(alarms)
        assert int(mine.detected.sum()) == len(right) and not bool((mine.detected & truth.difficult).any())


def test_false_alarms_in_images_without_objects_count() -> None:
    truth = [objects((BOX, 0)), objects()]
    assert value([found((BOX, 0, 0.5)), found((FAR, 0, 0.9))], *truth) == pytest.approx(50)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda p: p[1]["boxes"].fill_(float("nan")), "image 1: the model predicts NaN"),
        (lambda p: p[0]["scores"].fill_(float("inf")), "image 0: the model predicts NaN"),
        (lambda p: p[0]["labels"].fill_(2), "outside 0..1"),
        (lambda p: p[0].update(scores=torch.ones(3)), r"boxes \[K, 4\]"),
        (lambda p: p.pop(), "each of 2 images; got 1"),
    ],
)
def test_damaged_predictions_are_refused(damage: Any, words: str) -> None:
    predictions = [found((BOX, 0, 0.5)), found((BOX, 0, 0.5))]
    damage(predictions)
    with pytest.raises(DataError, match=words) as caught:
        DetectionMAP()(predictions, dataset(objects((BOX, 0)), objects((BOX, 1))))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("hits", [1, 2])
def test_intervals_of_percentages_end_at_0_and_100_and_those_of_counts_do_not(hits: int) -> None:
    """Resamples of three images miss all or find all, and are shifted to the value: below 0, or above 100."""
    alarms = [(FAR, 1, 0.5)] * 150
    predictions = [found((BOX, 0, 0.9), *alarms)] * hits + [found()] * (3 - hits)
    values, intervals = DetectionMAP().with_intervals(predictions, dataset(*[objects((BOX, 0))] * 3))
    assert intervals["mAP"][hits == 1] == (100 if hits == 1 else 0)
    assert all(0 <= low <= values[name] <= high for name, (low, high) in intervals.items())
    assert all(high <= 100 for name, (_, high) in intervals.items() if name != "false alarms")
    assert intervals["false alarms"][1] > values["false alarms"] == 50 * hits and intervals["false alarms"][1] > 100


def test_a_set_without_objects_is_refused() -> None:
    with pytest.raises(DataError, match="no image of the test set has an object"):
        DetectionMAP()([found()], dataset(objects((BOX, 0, True))))


def test_nothing_is_printed_and_no_process_started(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a pool")

    monkeypatch.setattr(multiprocessing, "Pool", refuse)
    monkeypatch.setattr("mmdet.evaluation.functional.mean_ap.Pool", refuse)
    monkeypatch.chdir(tmp_path)
    metric = METRICS.build(dict(type="DetectionMAP"))
    metric(*random_set(0))
    assert tuple(capfd.readouterr()) == ("", "") and not list(tmp_path.iterdir())


def pixels_of(path: Path, colour: tuple[int, int, int]) -> int:
    return int((np.abs(np.asarray(Image.open(path).convert("RGB")).astype(int) - colour).max(2) <= 1).sum())


def test_the_picture_shows_detections_and_the_change(tmp_path: Path) -> None:
    data = dataset(objects((BOX, 0), (FAR, 1), shape=(100, 90)))
    pixels = torch.full((1, 3, 128, 128), 0.4)
    pixels[..., 100:, :] = pixels[..., 90:] = 1.0  # padding, which is not drawn
    attacked = pixels.clone()
    attacked[..., :100, :90] += 8 / 255
    clean, after = [found((BOX, 0, 0.9), (FAR, 1, 0.8))], [found((FAR, 0, 0.7), (BOX, 0, 0.1))]
    path = tmp_path / "new" / "picture.png"
    assert DetectionMAP().draw(path, data, positions=[0], columns={"Clean": (clean, pixels), "DAG": (after, attacked)})
    image = Image.open(path)
    assert image.format == "PNG" and min(image.size) > 400
    assert not list(path.parent.glob(".*"))  # nothing unfinished
    assert pixels_of(path, RIGHT) > 200 and pixels_of(path, WRONG) > 100 and pixels_of(path, MISSED) > 50
    changed = round((0.5 + 15 * 8 / 255) * 255)
    assert pixels_of(path, (changed,) * 3) > 200 * 200
    assert DetectionMAP().draw(path, data, positions=[0], columns={"Clean": (clean, pixels)})
    assert pixels_of(path, WRONG) == 0 < pixels_of(path, RIGHT)
    assert pixels_of(path, (changed,) * 3) < 1000  # edges of letters


def test_what_is_drawn_is_judged_as_the_metric_judges() -> None:
    annotation = objects((BOX, 0), (FAR, 1), ([0.0, 0, 5, 5], 1, True))
    annotation = Annotation(
        annotation.boxes, annotation.labels, annotation.difficult, (50, 200), (100, 100), (2.0, 0.5), ""
    )
    drawn = Marks.of(found((BOX, 0, 0.5), (BOX, 0, 0.9), (FAR, 0, 0.8), (FAR, 1, 0.2)), annotation)
    assert drawn.scores.tolist() == pytest.approx([0.9, 0.8, 0.5])  # best first, the weak one left out
    assert drawn.right.tolist() == [True, False, False]
    assert drawn.missed.tolist() == [[120, 30, 158, 39.5]] and drawn.missed_labels.tolist() == [1]
    assert drawn.boxes[0].tolist() == [20, 5, 58, 14.5]


def test_the_picture_shows_the_images_at_the_positions_in_their_own_sizes(tmp_path: Path) -> None:
    """The second and the fourth of four, of different canvases; boxes of the others are nowhere."""
    data = dataset(objects((BOX, 0)), objects((FAR, 1)), objects((BOX, 1)), objects((FAR, 0), shape=(90, 100)))
    predictions = [found((BOX, 1, 0.9)), found((FAR, 1, 0.9)), found((BOX, 0, 0.9)), found((FAR, 0, 0.9))]
    pixels = [torch.full((3, 100, 128), 0.4), torch.full((3, 96, 100), 0.4)]
    path = tmp_path / "picture.png"
    columns = {"Clean": (predictions, pixels), "DAG": (predictions, pixels)}
    assert DetectionMAP().draw(path, data, positions=[1, 3], columns=columns)
    assert pixels_of(path, RIGHT) > 400 and pixels_of(path, WRONG) == pixels_of(path, MISSED) == 0


def test_detections_of_difficult_objects_are_not_drawn_and_objects_found_beyond_the_drawn_are_not_missed() -> None:
    truth = objects((BOX, 0), (FAR, 1, True))
    drawn = Marks.of(found((FAR, 1, 0.9), (BOX, 0, 0.8)), truth)
    assert drawn.boxes.tolist() == [BOX] and drawn.right.tolist() == [True] and len(drawn.missed) == 0
    alarms = [([0.0, float(i), 5.0, float(i + 5)], 1, 0.9) for i in range(12)]
    drawn = Marks.of(found(*alarms, (BOX, 0, 0.5)), objects((BOX, 0)))
    assert len(drawn.boxes) == 12 and not bool(drawn.right.any()) and len(drawn.missed) == 0


def test_nothing_to_draw(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    data = dataset(objects((BOX, 0)))
    assert not DetectionMAP().draw(path, data, positions=[0], columns={})
    assert not DetectionMAP().draw(path, data, positions=[], columns={"Clean": ([found()], [])})
    assert not path.exists()


def test_images_of_any_shape_and_without_change_are_drawn(tmp_path: Path) -> None:
    nothing = Marks.of(found(), objects())
    wide, tall = torch.rand(3, 20, 90), torch.rand(3, 90, 20)
    rows = [[Scene("clean", image, nothing), Scene("DAG", image, nothing)] for image in (wide, tall)]
    draw_scenes(tmp_path / "picture.png", rows, classes=("one",))
    assert Image.open(tmp_path / "picture.png").width > 900


# ---------------------------------------------------------------------------------------------- names of classes


def test_a_set_with_its_classes_in_another_order_gives_the_same_map(tmp_path: Path) -> None:
    """Detections by a model that numbers the digits from 0 to 9, judged on a set that lists them from 9 to 0."""
    names = tuple("0123456789")
    whole = GeneratedVOC(tmp_path / "set", "test", images=1, test_images=12, canvas=(96, 96), sides=(24, 40))
    turned = VOCDetection(tmp_path / "set", "test", classes=names[::-1], size=(96, 96))
    perfect = [{"boxes": a.boxes, "scores": torch.ones(len(a.boxes)), "labels": a.labels} for a in whole.annotations]
    metric = DetectionMAP()
    assert metric(perfect, whole)["mAP"] == pytest.approx(100)
    assert metric(perfect, turned)["mAP"] < 50
    aligned, notes = align_classes(turned, names)
    assert metric(perfect, aligned) == metric(perfect, whole)
    assert "10 classes in another order than the model" in notes[0]
    few = VOCDetection(tmp_path / "set", "test", classes=("7", "3"), size=(96, 96))
    part = align_classes(few, names)[0].subset(5)
    assert part.classes == names and {int(label) for a in part.annotations for label in a.labels} <= {3, 7}
    assert aligned.fingerprint() == turned.fingerprint()
    with pytest.raises(DataError, match="class 0 is '0' there and 'a' here"):
        align_classes(VOCDetection(tmp_path / "set", "test", classes=("a", "1"), size=(96, 96)), names)
