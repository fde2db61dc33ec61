"""What the items on judging detectors measure."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from natx.benchmark import run_item
from natx_bench import ITEMS, det_judging
from natx_bench.common import Bench
from natx_bench.det_judging import SIZES, photographs

SETTING = {"model": "m", "batch_size": 8, "threads": 1, "device": "cpu", "command": "python x", "machine": {}}


@pytest.fixture
def bench() -> Bench:
    return Bench(torch.device("cpu"), "resnet8_cifar", 2, 1, 2)


def test_photographs_are_padded_as_a_detection_set_pads_them() -> None:
    photos = photographs(40, part=0.25)
    batch = photos.__getitems__([3, 0, 7])
    assert torch.equal(batch["inputs"], photographs(40, part=0.25).__getitems__([3, 0, 7])["inputs"])
    height, width = batch["inputs"].shape[2:]
    assert height % 32 == width % 32 == 0
    inside = 0
    for image, annotation in zip(batch["inputs"], batch["data_samples"]):
        tall, wide = annotation.shape
        assert annotation.original in SIZES and min(tall, wide) == 150
        assert not image[:, tall:].any() and not image[:, :, wide:].any() and image[:, :tall, :wide].any()
        assert bool((annotation.boxes[:, 2:] > annotation.boxes[:, :2]).all())
        inside += tall * wide
    share = 100 * (1 - inside / (3 * height * width))
    assert photos.padding(3, [3, 0, 7]) == pytest.approx(share) and 0 < share < 100


def test_grouping_leaves_little_padding(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(det_judging, "VOC_TEST", 200)
    found = run_item(ITEMS["det_padding"], bench, SETTING)
    (before,), (now,) = found["a_values"], found["b_values"]
    assert 25 < before < 50 and now < 10 and found["met"] is True
    alone, four, sixteen, _ = found["details"]["padding, %"]
    assert sixteen["as the set lists them"] == before and four["of like proportions"] == now
    assert alone["as the set lists them"] == pytest.approx(alone["of like proportions"])


def test_a_judging_as_it_was_and_as_it_is(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, ...]] = []

    def noting(task: Any, dataset: Any, attacks: Any, *, metric: Any, batch_size: int) -> None:
        order = dataset.alike(range(len(dataset))) if hasattr(dataset, "alike") else list(range(len(dataset)))
        seen.append((batch_size, len(order), order == sorted(order)))

    monkeypatch.setattr(det_judging, "evaluate_set", noting)
    for grouped in (False, True):
        det_judging.judging(bench, grouped=grouped, images=20)()
    assert seen == [(16, 20, True), (4, 20, False)]


def test_passes_on_all_of_voc_are_counted(bench: Bench) -> None:
    found = run_item(ITEMS["det_voc_passes"], bench, SETTING)
    counted = found["details"]["counted, not run"]
    assert [row["attack"] for row in counted] == ["loss_cls", "loss_loc", "DAG", "RAP"]
    assert [(row["forwards an image"], row["backwards"]) for row in counted] == [
        (21, 20),
        (21, 20),
        (151, 150),
        (202, 200),
    ]
    assert [row["passes in all"] for row in counted] == [4952 * count for count in (41, 41, 301, 402)]
    assert found["predicted"] == pytest.approx(703 / 82, abs=1e-4)
