"""Outcomes per image survive their text, and tell which images they are of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from safetensors.torch import save_file

from natx.data import subset
from natx.data.split import Part
from natx.evaluation.outcomes import discordant, image_fingerprint, packed, unpacked
from natx.evaluation.statistics import wilson
from natx.judging.judge import judge
from natx.testing import TinyCNNTask, TinyDataset


def test_digits_are_images_from_the_left() -> None:
    assert packed(torch.tensor([True, False, False, False, False, False, False, True])) == "81"
    assert packed(torch.tensor([True, True, True, True, False])) == "f0"
    assert packed(torch.zeros(0, dtype=torch.bool)) == "" and len(unpacked("", 0)) == 0


@pytest.mark.parametrize("images", [1, 7, 8, 9, 1000])
def test_outcomes_survive_their_text(images: int) -> None:
    right = torch.rand(images, generator=torch.Generator().manual_seed(images)) < 0.5
    assert torch.equal(unpacked(packed(right), images), right)
    assert len(packed(right)) == 2 * ((images + 7) // 8)


@pytest.mark.parametrize(("text", "images"), [("ff", 9), ("ffff", 8), ("xy", 8)])
def test_text_of_other_images_is_refused(text: str, images: int) -> None:
    with pytest.raises(ValueError):
        unpacked(text, images)


def test_discordant_images_are_counted_by_side() -> None:
    first, second = torch.tensor([1, 1, 0, 0, 1]).bool(), torch.tensor([1, 0, 1, 0, 0]).bool()
    assert discordant(first, second) == (2, 1) and discordant(second, first) == (1, 2)


def test_other_images_have_another_fingerprint() -> None:
    data = TinyDataset(20)
    whole = image_fingerprint(data, data)
    assert whole == image_fingerprint(data, subset(data, 20)) != image_fingerprint(data, subset(data, 19))
    other = TinyDataset(20, seed=7)
    assert whole != image_fingerprint(other, other)
    first, second = Part(data, [0, 1]), Part(data, [1, 2])
    assert image_fingerprint(data, first) != image_fingerprint(data, second)
    first.attacked, alike = [0], Part(data, [0, 1])
    alike.attacked = [1]
    assert image_fingerprint(data, first) != image_fingerprint(data, alike)


def test_a_report_holds_every_images_outcome_and_intervals(tmp_path: Path) -> None:
    save_file(TinyCNNTask(seed=1).upstream.state_dict(), tmp_path / "net.safetensors")
    test = {"test": {"type": "TinyDataset", "count": 21}}
    config = Config({"task": {"type": "TinyCNNTask"}, "data": test, "method": {"type": "Standard"}})
    attacks = Config({"threat": {"type": "Linf", "eps": 0.05}, "attacks": [{"type": "PGD", "steps": 2}]})
    report = judge(config, tmp_path / "net.safetensors", attacks, device=torch.device("cpu"))
    report = json.loads(json.dumps(report))
    unbroken = torch.ones(21, dtype=torch.bool)
    for column in report["columns"]:
        right = unpacked(column["outcomes"], 21)
        assert int(right.sum()) == column["correct"]
        assert column["interval"] == pytest.approx([100 * end for end in wilson(column["correct"], 21)])
        unbroken &= right
    assert torch.equal(unpacked(report["worst_case_outcomes"], 21), unbroken)
    ends = [100 * end for end in wilson(int(unbroken.sum()), 21)]
    assert report["worst_case_interval"] == pytest.approx(ends)
    assert len(report["settings"]["images_fingerprint"]) == 16
