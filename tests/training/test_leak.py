"""Test images among the training images are told: before a training, in its checkpoint, and in reports."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image
from workshop import DIGITS, Workshop

from natx.data import build_dataset
from natx.training.leak import leak_remarks, learned_tests

TOLD = (
    "8 of the 8 test images of the training's config are among its training images: what is measured on them is no test"
)


def photos(root: Path, count: int) -> Path:
    """Folders of two classes."""
    for label, name in enumerate(("dark", "light")):
        (root / name).mkdir(parents=True)
        for i in range(count):
            pixels = np.full((8, 8, 3), 60 + 120 * label + i, dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


def folder(root: Path) -> dict[str, Any]:
    return {"type": "ImageFolder", "root": str(root), "image_size": 8, "resize": 8}


class Files:
    """Images of which the files are known."""

    def __init__(self, *files: Path) -> None:
        self.files = [str(file) for file in files]


def test_files_are_the_same_by_whatever_way_they_are_named(tmp_path: Path) -> None:
    import tasks.cls  # noqa: F401  # registers the data set

    tests = photos(tmp_path / "tests", 3)
    (tmp_path / "link").symlink_to(tests)
    config = Config({"data": {"test": folder(tests)}})
    learned = Files(tmp_path / "link" / "dark" / "0.png", tmp_path / "x" / ".." / "tests" / "light" / "2.png")
    assert learned_tests(config, learned) == {"learned_tests": {"images": 2, "of": 6}}
    assert learned_tests(config, Files(tmp_path / "dark" / "0.png")) == {} == learned_tests(config, Files())
    assert learned_tests(Config({"data": {"test": None}}), learned) == {}
    assert leak_remarks({}) == []


def arrays(path: Path, values: Sequence[int], *, layout: str = "last") -> dict[str, Any]:
    """One image of 8 x 8 for each value, whose pixels differ from those of any other."""
    images = np.arange(8 * 8 * 3).reshape(1, 8, 8, 3) % 50 + np.array(values)[:, None, None, None]
    images = images.astype(np.uint8)
    stored = images if layout == "last" else images.transpose(0, 3, 1, 2)
    np.savez(path, image=stored, label=np.arange(len(values)) % 2)
    return {"type": "NPZ", "path": str(path), "num_classes": 2}


def test_images_in_memory_are_the_same_by_their_pixels(tmp_path: Path) -> None:
    """As where one file or one half of CIFAR is both; labels and the file's layout do not matter."""
    import tasks.cls  # noqa: F401

    learned = build_dataset(arrays(tmp_path / "learned.npz", [1, 2, 3, 4]))
    config = Config({"data": {"test": arrays(tmp_path / "tests.npz", [9, 3, 1], layout="first")}})
    assert learned_tests(config, learned) == {"learned_tests": {"images": 2, "of": 3}}
    config = Config({"data": {"test": arrays(tmp_path / "others.npz", [5, 6])}})
    assert learned_tests(config, learned) == {}
    assert learned_tests(Config({"data": {"test": {"type": "NPZ", "path": str(tmp_path / "gone.npz")}}}), learned) == {}
    halves = [{"type": "Digits", "train": train} for train in (True, False)]
    assert learned_tests(Config({"data": {"test": halves[1]}}), build_dataset(halves[0])) == {}
    again = learned_tests(Config({"data": {"test": halves[0]}}), build_dataset(halves[0]))
    assert again == {"learned_tests": {"images": 1437, "of": 1437}}
    # Files are no pixels: a set of one kind and one of the other have nothing to be compared by.
    assert learned_tests(Config({"data": {"test": halves[0]}}), Files(tmp_path / "0.png")) == {}


def test_a_training_its_checkpoint_and_reports_tell_it(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop.folder)
    photos(shop.folder / "photos", 4)
    task = {"type": "ClassificationTask", "model": "small_cnn", "num_classes": 2, "image_size": 8}
    where = folder(shop.folder / "photos")
    data = {"train": {**where, "train": True}, "test": where, "batch_size": 4, "heldout": 2}
    changes = {"task": task, "data": data, "method": {"type": "Standard"}, "train_cfg": {"max_epochs": 1}}
    config = shop.write("photos.py", {**DIGITS, **changes})
    plan = shop.run("train.py", config, "--dry-run", "--no-timing")
    assert f"note: {TOLD}" in " ".join(plan.out.split()), plan.err
    trained = shop.run("train.py", config, "--work-dir", shop.folder / "run")
    assert trained.code == 0, trained.err
    attacks = shop.write(
        "a.py", {"threat": {"type": "Linf", "eps": 0.1}, "attacks": [{"type": "FGSM"}], "success": "any"}
    )
    out = shop.folder / "out"
    judged = shop.run("test.py", config, shop.folder / "run" / "best.safetensors", "--attacks", attacks, "--out", out)
    assert judged.code == 0, judged.err
    assert TOLD in json.loads((out / "report.json").read_text())["notes"]
