"""What an evaluation of a set keeps of its finished blocks is what they were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from natx.attacks import Cost
from natx.errors import ConfigError
from natx.evaluation.progress import clear_progress
from natx.evaluation.set_progress import SetBlock, SetProgress

EVALUATION = {"seed": 1, "attacks": [{"steps": 3}]}


def block(predictions: Any, images: list[int], **more: Any) -> SetBlock:
    return SetBlock(images, predictions, torch.rand(len(images), 3, dtype=torch.float64), **more)


def kept(folder: Path, one: SetBlock, *, name: str = "PGD") -> SetBlock:
    """A block as a later process reads it."""
    SetProgress(folder, EVALUATION).add(name, one)
    stored = SetProgress(folder, EVALUATION, resume=True).stored(name, one.images)
    assert stored is not None
    return stored


def test_features_come_back_as_they_were_with_cost_remarks_and_pixels(tmp_path: Path) -> None:
    pixels = {7: torch.rand(3, 4, 5), 2: torch.rand(3, 4, 5)}
    features = torch.randn(3, 6)
    features[1, 2] = torch.nan  # under an attack they may be no numbers
    one = block(features, [7, 2, 9], pixels=pixels, cost=Cost(12, 9), notes=["größer"], seconds=1.5)
    stored = kept(tmp_path, one)
    assert (stored.images, stored.cost, stored.notes, stored.seconds) == ([7, 2, 9], Cost(12, 9), ["größer"], 1.5)
    torch.testing.assert_close(stored.predictions, features, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(stored.sizes, one.sizes) and stored.pixels.keys() == pixels.keys()
    assert all(torch.equal(stored.pixels[at], image) for at, image in pixels.items())


def test_detections_come_back_image_by_image_also_where_there_are_none(tmp_path: Path) -> None:
    everything = torch.rand(4, 5)  # boxes and scores as columns of one tensor, as detectors give them
    first = {"boxes": everything[:, :4], "scores": everything[:, 4], "labels": torch.arange(4)}
    none = {"boxes": torch.zeros(0, 4), "scores": torch.zeros(0), "labels": torch.zeros(0, dtype=torch.int64)}
    stored = kept(tmp_path, block([first, none], [0, 1]))
    for one, other in zip(stored.predictions, (first, none)):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) and one[key].dtype == other[key].dtype for key in one)
    plain = kept(tmp_path / "lists", block([torch.ones(2), torch.zeros(3)], [0, 1]))
    assert [one.tolist() for one in plain.predictions] == [[1, 1], [0, 0, 0]]


def test_blocks_are_of_one_attack_and_one_evaluation(tmp_path: Path) -> None:
    progress = SetProgress(tmp_path, EVALUATION)
    progress.add("PGD", block(torch.zeros(2, 3), [0, 1]))
    assert progress.stored("PGD", [0, 1]) is not None
    assert progress.stored("DAG", [0, 1]) is progress.stored("PGD", [0]) is None
    with pytest.raises(ConfigError, match="not finished: add --resume"):
        SetProgress(tmp_path, EVALUATION)
    with pytest.raises(ConfigError, match=r"another evaluation: attacks.0.steps was 3 and is 4"):
        SetProgress(tmp_path, {**EVALUATION, "attacks": [{"steps": 4}]}, resume=True)
    (tmp_path / "progress.json").unlink()  # files that were left behind are of another evaluation
    assert SetProgress(tmp_path, {**EVALUATION, "seed": 2}).stored("PGD", [0, 1]) is None
    clear_progress(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_kept_or_read_is_told_in_a_line(tmp_path: Path) -> None:
    progress = SetProgress(tmp_path, EVALUATION)
    with pytest.raises(ConfigError, match=r"dicts of them; predictions.0.name is a str") as error:
        progress.add("PGD", block([{"name": "cat"}], [0]))
    assert "\n" not in str(error.value)
    progress.add("PGD", block(torch.zeros(1, 3), [0]))
    (path,) = tmp_path.glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ConfigError, match="is damaged .*: delete it, and its images are judged again") as error:
        progress.stored("PGD", [0])
    assert "\n" not in str(error.value)
    assert json.loads((tmp_path / "progress.json").read_text())["evaluation"] == {**EVALUATION, "processes": 1}
