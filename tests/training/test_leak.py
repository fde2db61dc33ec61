"""Test images among the training images are told: before a training, in its checkpoint, and in reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image
from workshop import DIGITS, Workshop

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
