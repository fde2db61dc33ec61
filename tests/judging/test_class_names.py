"""Folders in another order, fewer, or under other names: the right accuracy, or a line that names the difference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

import natx
from natx.analysis.collect import CLEAN as CLEAN_VIEW
from natx.analysis.subjects import Run, subject
from natx.attacks import PGD
from natx.checks import AuditOptions
from natx.data import build_dataset
from natx.data.gather import gather
from natx.errors import DataError
from natx.evaluation.robust import CLEAN
from natx.judging.judge import judge
from natx.judging.save import save_judged
from natx.judging.transfer import judge_transfer
from natx.models.checkpoint import save_weights
from natx.testing import TinyCNNTask, fit
from natx.threat import Linf
from tasks.cls.datasets import ImageFolder

CPU = torch.device("cpu")
COLOURS = {"blue": (20, 20, 220), "green": (20, 220, 20), "red": (220, 20, 20), "white": (230, 230, 230)}
NAMES = tuple(COLOURS)  # in the order of the folders
TASK = {"type": "TinyCNNTask", "num_classes": 4}
ATTACKS = Config({"threat": {"type": "Linf", "eps": 1 / 255}, "attacks": [{"type": "FGSM"}]})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five noisy squares of each colour, in a folder each."""
    root, noise = tmp_path_factory.mktemp("colours"), np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (root / name).mkdir()
        for i in range(5):
            pixels = np.clip(np.array(colour) + noise.integers(-20, 20, (8, 8, 3)), 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def weights(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A net that knows the colours, with their names in its file."""
    task = fit(TinyCNNTask(4, dropout=0.0), ImageFolder(folder, image_size=8, resize=8), steps=60)
    path = tmp_path_factory.mktemp("run") / "best.safetensors"
    save_weights(path, task, meta={"task": TASK, "classes": list(NAMES)})
    return path


def config(root: Path, tmp_path: Path, names: Sequence[str] | None = None) -> Config:
    test: dict[str, Any] = {"type": "ImageFolder", "root": str(root), "image_size": 8, "resize": 8}
    if names is not None:
        (tmp_path / "classes.txt").write_text("\n".join(names))
        test["class_list"] = str(tmp_path / "classes.txt")
    return Config({"task": {**TASK, "dropout": 0.0}, "data": {"test": test}})


def clean_accuracy(report: dict[str, Any]) -> float:
    return next(column["accuracy"] for column in report["columns"] if column["name"] == CLEAN)


@pytest.mark.parametrize("names", [None, NAMES[::-1], ("white", "blue"), ("green",)])
def test_the_accuracy_does_not_depend_on_the_order_of_the_folders(
    folder: Path, weights: Path, tmp_path: Path, names: Sequence[str] | None
) -> None:
    report = judge(config(folder, tmp_path, names), weights, ATTACKS, device=CPU)
    assert clean_accuracy(report) == 100
    assert any("matched by name" in note for note in report["notes"]) == (names is not None)


def test_images_are_attacked_for_the_classes_of_the_model(folder: Path, weights: Path, tmp_path: Path) -> None:
    model, reversed_names = natx.load(weights), build_dataset(config(folder, tmp_path, NAMES[::-1]).data.test)
    images, labels, _ = gather(reversed_names, None)
    expected = natx.attack(model, images, len(NAMES) - 1 - labels, "FGSM", eps=8 / 255)
    with pytest.warns(UserWarning, match="matched by name"):
        attacked = natx.attack(model, reversed_names, attack="FGSM", eps=8 / 255)
    assert torch.equal(attacked, expected)


class Pairs(Dataset):
    """A data set of torch's kind with names of its classes."""

    def __init__(self, images: Tensor, labels: Tensor, classes: Sequence[str]) -> None:
        self.images, self.labels, self.classes = images, labels, list(classes)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        return self.images[i], self.labels[i]


@pytest.mark.parametrize(
    "show",
    [lambda data: data, DataLoader, lambda data: Subset(data, [0, 3]), lambda data: DataLoader(Subset(data, [3]))],
)
def test_names_come_through_loaders_and_subsets(folder: Path, weights: Path, tmp_path: Path, show: Any) -> None:
    images, labels, _ = gather(build_dataset(config(folder, tmp_path).data.test))
    data = show(Pairs(images / 255, len(NAMES) - 1 - labels, NAMES[::-1]))
    result = natx.evaluate(natx.load(weights), data, attacks="FGSM", eps=1 / 255)
    assert result.accuracies[CLEAN] == 100 and any("matched by name" in note for note in result.notes)


def renamed(folder: Path, tmp_path: Path) -> Path:
    """The folders with green called grass, so that it comes first in no list but lies where green was."""
    root = tmp_path / "renamed"
    root.mkdir()
    for name in NAMES:
        (root / name.replace("green", "grass")).symlink_to(folder / name, target_is_directory=True)
    return root


def test_a_renamed_folder_is_refused_on_every_route(folder: Path, weights: Path, tmp_path: Path) -> None:
    settings = config(renamed(folder, tmp_path), tmp_path)
    run = Run(PGD(Linf(1 / 255), 1), CPU, linear=False)
    (tmp_path / "colours.py").write_text(f"task = {dict(settings.task)!r}\ndata = {settings.data.to_dict()!r}\n")
    routes = {
        "test": lambda: judge(settings, weights, ATTACKS, device=CPU),
        "save": lambda: save_judged(settings, weights, ATTACKS, tmp_path / "out", device=CPU),
        "analyze": lambda: subject("net", settings, weights, run),
        "transfer": lambda: judge_transfer([(str(tmp_path / "colours.py"), str(weights))], ATTACKS, device=CPU),
    }
    for route, call in routes.items():
        with pytest.raises(DataError) as error:
            call()
        assert "class 1 is 'green' there and 'grass' here" in str(error.value), route
        assert "num_classes" not in str(error.value), route


def test_an_analysis_and_saved_images_match_labels_by_name(folder: Path, weights: Path, tmp_path: Path) -> None:
    settings = config(folder, tmp_path, NAMES[::-1])
    one = subject("net", settings, weights, Run(PGD(Linf(1 / 255), 1), CPU, linear=False))
    view = one.collected.views[CLEAN_VIEW]
    assert bool((view.logits.argmax(1) == view.labels).all())
    assert one.classes == NAMES
    assert any("matched by name" in note for note in one.collected.notes)
    saved = save_judged(settings, weights, ATTACKS, tmp_path / "out", device=CPU)
    assert saved[0]["accuracy"] == 100


def test_models_that_number_classes_otherwise_are_not_compared(folder: Path, weights: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    save_weights(other, TinyCNNTask(4, dropout=0.0), meta={"classes": list(NAMES[::-1])})
    path = tmp_path / "colours.py"
    settings = config(folder, tmp_path)
    path.write_text(f"task = {dict(settings.task)!r}\ndata = {settings.data.to_dict()!r}\n")
    with pytest.raises(DataError, match="class 0 is 'white' there and 'blue' here"):
        judge_transfer([(str(path), str(weights)), (str(path), str(other))], ATTACKS, device=CPU)
    with pytest.raises(DataError, match="not those of --vanilla: class 0"):
        judge(settings, weights, ATTACKS, device=CPU, checks=AuditOptions(images=4, vanilla=other))


def test_weights_without_names_are_judged_as_before(folder: Path, weights: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    save_file(load_file(weights), tmp_path / "nameless.safetensors")
    report = judge(config(folder, tmp_path), tmp_path / "nameless.safetensors", ATTACKS, device=CPU)
    assert clean_accuracy(report) == 100
    assert build_dataset(dict(config(folder, tmp_path).data.test)).classes == NAMES


@pytest.mark.parametrize("names", [NAMES, NAMES[::-1], ("white", "blue")])
def test_a_data_set_is_judged_in_python_by_the_names_of_its_classes(
    folder: Path, weights: Path, tmp_path: Path, names: Sequence[str]
) -> None:
    model = natx.load(weights)
    assert model.classes == NAMES
    dataset = build_dataset(config(folder, tmp_path, names).data.test.to_dict())
    result = natx.evaluate(model, dataset, attacks=["FGSM"], eps=1 / 255)
    assert result.accuracies[CLEAN] == 100
    batch = dataset.__getitems__(range(len(dataset)))
    tensors = natx.evaluate(model, batch["inputs"], batch["data_samples"], classes=names, attacks=["FGSM"], eps=1 / 255)
    assert tensors.accuracies == result.accuracies
    assert bool(result.notes) == bool(tensors.notes) == (names != NAMES)
    with pytest.raises(DataError, match="has no class 'grass'"):
        natx.evaluate(
            model, batch["inputs"], batch["data_samples"], classes=["grass", "blue", "red", "white"], eps=1 / 255
        )
