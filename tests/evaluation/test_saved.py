"""Saved adversarial images, against the closed form of a linear model and plain readings of the files."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from natx.attacks import PGD
from natx.errors import ConfigError, DataError
from natx.evaluation.saved import Tally, read_saved, save_adversarial, sentence
from natx.models.checkpoint import save_weights
from natx.testing import LinearTask, TinyCNNTask, TinyDataset, fit
from natx.threat import L2, Linf

EPS, COUNT = 0.105, 25  # not a whole number of grey levels


class Halves:
    """Grey images in two classes by their mean; the margins differ by image, and the first two labels are wrong."""

    def __init__(self, channels: int = 1) -> None:
        level = torch.linspace(0.3, 0.7, COUNT)
        self.images = level.view(-1, 1, 1, 1).repeat(1, channels, 2, 3)
        self.labels = (level > 0.5).long()
        self.labels[:2] = 1

    def __len__(self) -> int:
        return COUNT

    def __getitems__(self, indices) -> dict[str, Tensor]:
        rows = torch.as_tensor(indices)
        return {"inputs": self.images[rows], "data_samples": self.labels[rows], "index": rows + 100}


def by_mean(channels: int = 1) -> LinearTask:
    """Class 1 where the mean is above 0.5003."""
    weight = torch.full((1, 6 * channels), 1 / (6 * channels))
    return LinearTask(torch.cat([-weight, weight]), torch.tensor([0.5003, -0.5003]))


def predicted(images: Tensor) -> Tensor:
    return (images.double().flatten(1).mean(1) > 0.5003).long()


def attack(**settings) -> PGD:
    return PGD(Linf(EPS), 12, step_size=EPS / 3, **settings)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("success", ["any", "last"])
def test_files_hold_what_breaks_the_model(tmp_path: Path, success: str, channels: int) -> None:
    data, task = Halves(channels), by_mean(channels)
    (found,) = save_adversarial(task, data, [attack(name="C&W")], tmp_path, batch_size=10, success=success)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["C-W", "saved.json"]
    images, labels, index = read_saved(tmp_path / "C-W")
    assert images.dtype == torch.float32 and images.shape == data.images.shape
    assert torch.equal(labels, data.labels) and torch.equal(index, torch.arange(COUNT) + 100)
    moved = (images - data.images).abs().flatten(1).amax(1)
    assert moved.max() <= EPS + 1e-6
    clean_right = predicted(data.images) == data.labels
    reach = (data.images[:, 0, 0, 0] - 0.5003).abs()
    right = predicted(images) == labels
    assert torch.equal(right, clean_right & (reach > EPS)) and 0 < right.sum() < clean_right.sum()
    if success == "any":
        assert torch.equal(images[~clean_right], data.images[~clean_right])
    else:
        assert (moved[~clean_right] > 0).all()
    assert found["accuracy"] == pytest.approx(100 * right.double().mean().item())
    assert found["distance"] == pytest.approx(moved.max().item())
    assert json.loads((tmp_path / "saved.json").read_text()) == [found]


@pytest.mark.parametrize("channels", [1, 3])
def test_png_files_are_the_images_rounded_and_their_accuracy_is_reported(tmp_path: Path, channels: int) -> None:
    data, task = Halves(channels), by_mean(channels)
    (found,) = save_adversarial(task, data, [attack()], tmp_path, batch_size=7)
    images, labels, index = read_saved(tmp_path / "PGD-12")
    files = sorted((tmp_path / "PGD-12" / "png").iterdir())
    assert [file.name for file in files] == [f"{i:06d}.png" for i in index.tolist()]
    read = [np.asarray(Image.open(file)) for file in files]
    assert all(array.shape == ((2, 3) if channels == 1 else (2, 3, 3)) for array in read)
    stored = torch.from_numpy(np.stack(read)).view(COUNT, 2, 3, channels).permute(0, 3, 1, 2)
    assert stored.dtype == torch.uint8 and (stored / 255 - images).abs().max() <= 0.5 / 255 + 1e-6
    right = predicted(stored / 255) == labels
    assert found["accuracy_png"] == pytest.approx(100 * right.double().mean().item())
    assert found["distance_png"] == pytest.approx((stored / 255 - data.images).abs().max().item(), abs=1e-6)
    assert found["distance_png"] <= EPS + 0.51 / 255
    words = sentence(found)
    assert f"{found['accuracy']:.2f} %" in words and f"{found['accuracy_png']:.2f} % as 8-bit PNG" in words


def test_rounding_can_change_what_an_image_does(tmp_path: Path) -> None:
    data, task = Halves(), by_mean()
    data.images[:] = 0.4999
    data.labels[:] = 0
    weak = PGD(Linf(0.0002), 1, step_size=0.0002, random_start=False)
    (found,) = save_adversarial(task, data, [weak], tmp_path)
    # 0.5001 is below the border at 0.5003, and 127.5 grey levels, which become 128: on its other side.
    assert found["accuracy"] == 100.0 and found["accuracy_png"] == 0.0
    assert found["distance"] == pytest.approx(0.0002, abs=1e-6)
    assert found["distance_png"] == pytest.approx(128 / 255 - 0.4999, abs=1e-6)


def test_each_column_of_a_trajectory_is_saved(tmp_path: Path) -> None:
    data = TinyDataset(30, seed=5)
    task = fit(TinyCNNTask(seed=1), TinyDataset(40))
    task.train()
    several = PGD(Linf(20 / 255), 10, step_size=3 / 255, milestones=(1, 4, 10), seed=3)
    found = save_adversarial(task, data, [several, PGD(L2(0.8), 3, step_size=0.3, name="L2")], tmp_path, batch_size=8)
    assert [entry["column"] for entry in found] == ["PGD-1", "PGD-4", "PGD-10", "L2"] and task.training
    judged = several.judge(task, data.__getitems__(range(30)))
    task.eval()
    for entry, steps in zip(found, (1, 4, 10)):
        images, labels, _ = read_saved(tmp_path / f"PGD-{steps}")
        with torch.no_grad():
            wrong = task.net((images - 0.5) / 0.25).argmax(1) != labels
        assert torch.equal(wrong, judged.broken[f"PGD-{steps}"])
        assert entry["accuracy"] == pytest.approx(100 * (1 - wrong.double().mean().item()))
    images, _, _ = read_saved(tmp_path / "L2")
    length = (images - data.images).flatten(1).norm(dim=1).max().item()
    assert length <= 0.8 + 1e-4 and found[-1]["distance"] == pytest.approx(length, abs=1e-6)


def test_the_furthest_image_is_that_of_all_blocks() -> None:
    total = Tally()
    for block in (Tally(3, 2, 1, 0.1, 0.2), Tally(4, 1, 1, 0.3, 0.1), Tally(1, 0, 0, 0.2, 0.3)):
        total.add(block)
    assert total == Tally(8, 3, 2, 0.3, 0.3)


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    data, task = Halves(), by_mean()
    save_adversarial(task, data, [attack()], tmp_path)
    with pytest.raises(ConfigError, match="exists already"):
        save_adversarial(task, data, [attack()], tmp_path)
    with pytest.raises(ConfigError, match="differ in other signs only"):
        save_adversarial(task, data, [attack(name="a b"), attack(name="a&b")], tmp_path)
    signs = save_adversarial(task, data, [attack(name="PGD +w"), attack(name="PGD -w")], tmp_path / "signs")
    assert [Path(one["folder"]).name for one in signs] == ["PGD-plus-w", "PGD-minus-w"]
    with pytest.raises(ConfigError, match="two attacks fill the column"):
        save_adversarial(task, data, [attack(), attack()], tmp_path / "other")
    with pytest.raises(ConfigError, match="1 or 3 channels"):
        save_adversarial(by_mean(2), Halves(2), [attack()], tmp_path / "two")
    with pytest.raises(DataError, match="give the folder of a column"):
        read_saved(tmp_path)
    task.per_image_success = False
    with pytest.raises(ConfigError, match="no accuracy per image"):
        save_adversarial(task, data, [attack()], tmp_path / "third")


def test_the_tool_saves_and_the_report_says_so(tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / "config.py").write_text(
        "custom_imports = dict(imports=['natx.testing'])\ntask = dict(type='TinyCNNTask', seed=1)\n"
        "data = dict(test=dict(type='TinyDataset', count=40, seed=5))\n"
    )
    (tmp_path / "attacks.py").write_text(
        "threat = dict(type='Linf', eps=20 / 255)\nattacks = [dict(type='PGD', steps=4, milestones=(2, 4))]\n"
    )
    save_weights(tmp_path / "w.safetensors", fit(TinyCNNTask(seed=1), TinyDataset(40)), meta={})
    files = [str(tmp_path / name) for name in ("config.py", "w.safetensors")]
    rest = ["--attacks", str(tmp_path / "attacks.py"), "--subset", "24", "--save-adv", str(tmp_path / "adv")]
    monkeypatch.setattr(sys, "argv", ["test.py", *files, *rest, "--out", str(tmp_path / "out"), "--device", "cpu"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    tool = str(Path(__file__).resolve().parents[2] / "tools" / "test.py")
    runpy.run_path(tool, run_name="__main__")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    columns = {column["name"]: column["accuracy"] for column in report["columns"]}
    for entry in report["saved"]:
        assert entry["accuracy"] == pytest.approx(columns[entry["column"]]) and entry["images"] == 24
        assert len(list((Path(entry["folder"]) / "png").iterdir())) == 24
    assert [entry["column"] for entry in report["saved"]] == ["PGD-2", "PGD-4"]
    assert f"{columns['PGD-4']:.2f} % of them are classified right" in (tmp_path / "out" / "report.md").read_text()
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(tool, run_name="__main__")
    words = capsys.readouterr().err
    assert stopped.value.code == 2 and "exists already and is not empty" in words and words.count("\n") == 1
