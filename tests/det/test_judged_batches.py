"""How many images of a detector are judged at once, and which together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from coco_set import write_coco
from detectors import detector, faster, retina, ssd

from natx.attacks import PGD
from natx.attacks.remarks import WORST
from natx.config import ATTACKS, load_config
from natx.errors import MemoryShortage
from natx.evaluation import evaluate_set
from natx.evaluation.sets import predict_all
from natx.objectives import ImageLoss
from tasks.det.datasets import CocoDetection
from tasks.det.metrics import DetectionMAP


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> CocoDetection:
    """Six images, three of them 72 x 96 and three 96 x 96, in turn."""
    return CocoDetection(*write_coco(tmp_path_factory.mktemp("coco")), short=64, long=96)


def test_images_of_like_proportions_are_judged_together_and_stay_in_order(coco: CocoDetection) -> None:
    task, seen = detector(retina()).eval(), []

    def predict(batch: dict[str, Any]) -> list[dict[str, torch.Tensor]]:
        seen.append(([a.shape for a in batch["data_samples"]], tuple(batch["inputs"].shape[-2:])))
        return [{"index": i} for i in batch["index"].tolist()]

    task.predict = predict
    predictions = predict_all(task, coco, batch_size=3)
    assert [prediction["index"] for prediction in predictions] == list(range(6))
    assert seen == [([(64, 85)] * 3, (64, 96)), ([(64, 64)] * 3, (64, 64))]
    assert coco.alike([4, 1, 0]) == [4, 0, 1]
    part = coco.subset(3)
    assert part.alike([0, 1, 2]) == [0, 2, 1]


class Recorded(DetectionMAP):
    """Keeps the predictions that it measures, a set a column."""

    def __init__(self) -> None:
        self.columns: list[Any] = []

    def __call__(self, predictions: Any, dataset: Any) -> dict[str, float]:
        self.columns.append(predictions)
        return super().__call__(predictions, dataset)


@pytest.mark.parametrize("family", [retina, faster])
def test_an_attack_that_changes_no_pixel_changes_no_prediction(family: Any, coco: CocoDetection) -> None:
    """One of the images has no object and is not attacked; without it the others would make other blocks."""
    task, metric = detector(family()).eval(), Recorded()
    still = PGD(dict(type="Linf", eps=0.0), 1, objective=ImageLoss("loss_cls"))
    evaluation = evaluate_set(task, coco, [still], metric=metric, batch_size=4)
    assert evaluation.attacked == 5 and evaluation.attacks[1].perturbation["changed"] == 0
    for clean, attacked in zip(*metric.columns, strict=True):
        assert len(clean["scores"]) and all(torch.equal(clean[key], attacked[key]) for key in clean)
    assert evaluation.attacks[1].success["fooled"] == 0


def test_detections_that_an_attack_makes_no_numbers_find_nothing(coco: CocoDetection) -> None:
    task, metric = detector(retina()).eval(), Recorded()
    predict, clean = task.predict, {i: task.pixels(coco.__getitems__([i]))[0] for i in range(len(coco))}

    def spoilt(batch: dict[str, Any]) -> list[dict[str, torch.Tensor]]:
        """NaN for the first image once one of its pixels is another."""
        predictions = predict(batch)
        for row, index in enumerate(batch["index"].tolist()):
            height, width = clean[index].shape[-2:]
            if index == 0 and not torch.equal(task.pixels(batch)[row][:, :height, :width], clean[0]):
                predictions[row]["scores"][:] = torch.nan
        return predictions

    task.predict = spoilt
    attack = PGD(dict(type="Linf", eps=8 / 255), 1, objective=ImageLoss("loss_cls"))
    evaluation = evaluate_set(task, coco, [attack], metric=metric)
    before, after = metric.columns[:2]
    assert len(before[0]["scores"]) and not len(after[0]["scores"]) and not len(after[0]["boxes"])
    assert any(note.startswith(WORST) and note.endswith("1") for note in evaluation.attacks[1].notes)


def test_detectors_say_how_many_images_are_judged_at_once() -> None:
    assert [detector(family()).judged_at_once for family in (ssd, retina, faster)] == [32, 4, 4]


def test_a_shortage_of_memory_says_how_many_may_do(coco: CocoDetection, monkeypatch: pytest.MonkeyPatch) -> None:
    task = detector(retina()).eval()

    def predict(batch: dict[str, Any]) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 34 GiB\nmore")

    monkeypatch.setattr(task, "predict", predict)
    with pytest.raises(MemoryShortage, match="6 images a step were too many, 3 may do") as error:
        evaluate_set(task, coco, [], metric=DetectionMAP(), batch_size=6)
    assert "\n" not in str(error.value)


def test_an_attack_config_says_how_many(tmp_path: Path) -> None:
    path = tmp_path / "attacks.py"
    path.write_text('batch_size = 7\nattacks = [dict(type="PGD", objective=dict(type="ImageLoss"))]\n')
    assert load_config(path, kind=ATTACKS).batch_size == 7
