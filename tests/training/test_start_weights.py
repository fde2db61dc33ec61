"""What a training starts from: whose weights, of which classes, and whose start they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from workshop import DIGITS, Workshop, merged, nat, write_config

from natx.config import frozen_models, load_config
from natx.data import build_dataset
from natx.errors import DataError
from natx.models.checkpoint import save_weights
from natx.models.weights import read_meta
from natx.registry import TASKS
from natx.training.build import build_runner
from natx.training.frozen_models import adversary_recipe
from natx.training.images import build_selection, with_generated
from natx.training.run import train
from tasks.cls import ClassificationTask

CPU = torch.device("cpu")
NAMES = [f"digit {i}" for i in range(10)]


def weights(path: Path, *, classes: list[str] | None, seed: int = 5, **task_changes: Any) -> Path:
    """Random weights of the tiny net under a seed, in a file that names classes."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        task = TASKS.build({**DIGITS["task"], **task_changes})
        assert isinstance(task, ClassificationTask)
    save_weights(path, task, meta={} if classes is None else {"classes": classes})
    return path


def test_the_start_of_a_nat_run_is_not_its_adversarys(tmp_path: Path) -> None:
    start = weights(tmp_path / "start.safetensors", classes=None)
    own = weights(tmp_path / "own.safetensors", classes=None, seed=6)
    vanilla = write_config(tmp_path / "vt.py", DIGITS)
    vanilla_from = write_config(tmp_path / "vt_from.py", merged(DIGITS, {"task": {"checkpoint": str(own)}}))
    for source, expected in ((vanilla, None), (vanilla_from, str(own))):
        settings = merged(DIGITS, {"task": {"checkpoint": str(start), "model_args": {"width": 4}}})
        settings["method"] = nat({"config": str(source)})
        config = load_config(write_config(tmp_path / "nat.py", settings))
        (entry,) = frozen_models(config)
        recipe = adversary_recipe(config, entry, tmp_path)
        assert recipe.task.get("checkpoint") == expected
        assert recipe.task.model_args == config.task.model_args


def test_the_adversary_is_trained_from_its_own_start(tmp_path: Path, shop: Workshop) -> None:
    """The same adversary, bit for bit, whatever the NAT run starts from."""
    vanilla = shop.digits("vt.py", train_cfg={"max_epochs": 1})
    start = weights(tmp_path / "start.safetensors", classes=None)
    adversaries = []
    for name, task in (("plain", {}), ("started", {"checkpoint": str(start)})):
        config = shop.digits(f"{name}.py", method=nat({"config": str(vanilla)}), task=task, train_cfg={"max_epochs": 1})
        train(load_config(config), tmp_path / name / "run", device=CPU)
        (folder,) = (tmp_path / name / "adversaries").iterdir()
        adversaries.append((folder.name, load_file(folder / "best.safetensors")["fc.weight"]))
    (name, layer), (other, same) = adversaries
    assert name == other and torch.equal(layer, same)


def images(tmp_path: Path, classes: list[str]) -> dict[str, Any]:
    """A folder a class, each with one grey picture; labels in the order of ``classes``."""
    from PIL import Image

    for i, name in enumerate(sorted(classes)):
        (tmp_path / "images" / name).mkdir(parents=True, exist_ok=True)
        for copy in range(3):
            Image.new("RGB", (8, 8), (20 * i, 20 * i, copy)).save(tmp_path / "images" / name / f"{copy}.png")
    (tmp_path / "order.txt").write_text("\n".join(classes))
    data = {"type": "ImageFolder", "root": str(tmp_path / "images"), "image_size": 8, "resize": 8}
    return {**data, "class_list": str(tmp_path / "order.txt")}


def settings(tmp_path: Path, order: list[str], **changes: Any) -> Any:
    data = images(tmp_path, order)
    content = merged(DIGITS, {"data": {"train": data, "test": data, "heldout": 10, "batch_size": 10}, **changes})
    content["task"]["model_args"] = {"width": 4}
    return load_config(write_config(tmp_path / "config.py", content))


@pytest.mark.parametrize("route", ["start", "task"])
def test_weights_of_classes_in_another_order_start_nothing(tmp_path: Path, route: str) -> None:
    path = weights(tmp_path / "start.safetensors", classes=NAMES[::-1], model_args={"width": 4})
    config = settings(tmp_path, NAMES, **{route: {"checkpoint": str(path)}})
    with pytest.raises(DataError) as error:
        build_runner(config, tmp_path / "run", device=CPU)
    assert "class 0 is 'digit 9' there and 'digit 0' here" in str(error.value)
    assert "num_classes" not in str(error.value)
    config = settings(tmp_path, NAMES, task={"checkpoint": str(path), "new_head": True})
    runner = build_runner(config, tmp_path / "run", device=CPU)
    assert runner.model.task.classes == tuple(NAMES)
    before, after = load_file(path), runner.model.task.net.state_dict()
    assert not torch.equal(after["fc.weight"], before["fc.weight"])
    assert torch.equal(after["body.0.0.weight"], before["body.0.0.weight"])


def test_generated_and_test_images_are_matched_by_name(tmp_path: Path) -> None:
    config = settings(tmp_path, NAMES)
    turned = images(tmp_path / "turned", NAMES[::-1])
    config.data.test = config.data.generated = turned
    config.protocol = "paper"
    whole = build_dataset(config.data.train.to_dict())
    selection = build_selection(config, whole)[1]
    assert tuple(selection.dataset.classes) == tuple(NAMES)
    mixed = with_generated(config, whole, whole)
    shades = mixed.__getitems__(range(len(mixed)))
    assert torch.equal(shades["inputs"][:, 0, 0, 0].to(torch.int64), 20 * shades["data_samples"])


def test_checkpoints_name_their_normalisation(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path / "c.py", merged(DIGITS, {"train_cfg": {"max_epochs": 1}})))
    best = train(config, tmp_path / "run", device=CPU)
    assert read_meta(best)["normalisation"] == {"mean": [0.5], "std": [0.5]}
