"""The plan of a training: all of it is built before anything is trained, and what it says is so."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from PIL import Image
from workshop import DIGITS, PGD, Workshop, nat

from natx.errors import ConfigError
from natx.training import rehearsal
from natx.training.learner import Learner
from natx.training.plan import describe_plan
from natx.training.run import train

CPU = torch.device("cpu")
WITH_ADVERSARY = {"train_cfg": {"max_epochs": 1}}


def plan(shop: Workshop, **changes: object) -> list[str]:
    return describe_plan(shop.load(**changes), shop.folder / "run", device=CPU)


# What a training builds only once its adversary is there, wrong in the run's own config or in the adversary's.
MISSPELT = {
    "optimiser": ({"optim_wrapper": {"optimizer": {"momentun": 0.9}}}, "momentun"),
    "schedule": ({"param_scheduler": [{"type": "CosineAnnealingLR", "Tmax": 3}]}, "param_scheduler"),
    "loop": ({"train_cfg": {"max_epoch": 3}}, "train_cfg"),
    "selection": ({"select": {"evry": 2}}, "evry"),
    "average": ({"ema": {"decays": 0.9}}, "decays"),
    "augmentation": ({"data": {"augments": [{"type": "RandomFlip", "q": 1}]}}, "RandomFlip"),
    "inner attack": ({"method": {"attack": {"stepz": 2}}}, "stepz"),
    "logs": ({"vis_backends": [{"type": "LocalVisBackendd"}]}, "LocalVisBackendd"),
    "copies": ({"data": {"copies": {"source": {"task": DIGITS["task"], "state": "random"}}}}, "data.copies.attack"),
}


@pytest.mark.parametrize("whose", ["run", "adversary"])
@pytest.mark.parametrize("name", MISSPELT)
def test_a_mistake_is_refused_before_an_adversary_is_trained(shop: Workshop, name: str, whose: str) -> None:
    changes, part = MISSPELT[name]
    if whose == "adversary" and name == "inner attack":
        changes = {"method": {"type": "Adversarial", "views": ("adv",), "attack": {**PGD, "stepz": 2}}}
    vanilla = shop.digits("vanilla.py", **(changes if whose == "adversary" else {}))
    own = {"method": nat({"config": str(vanilla)})}
    path = shop.digits("nat.py", **own) if whose == "adversary" else None
    if path is None:
        method = {**nat({"config": str(vanilla)}), **({"attack": {**PGD, "stepz": 2}} if "method" in changes else {})}
        path = shop.digits("nat.py", **{**changes, "method": method})
    for arguments in (["--dry-run", "--no-timing"], []):
        line = shop.run("train.py", path, "--work-dir", shop.folder / "run", *arguments).error()
        assert part in line, line
        assert whose == "run" or "vanilla.py" in line
    assert not [path for path in shop.folder.rglob("*") if path.suffix in (".pth", ".safetensors", ".npy")]


def test_training_from_python_refuses_before_the_adversary_too(shop: Workshop) -> None:
    vanilla = shop.digits("vanilla.py")
    config = shop.load(
        method=nat({"config": str(vanilla)}),
        optim_wrapper={"optimizer": {"momentun": 0.9}},
        train_cfg={"max_epochs": 1},
    )
    with pytest.raises(ConfigError, match="momentun"):
        train(config, shop.folder / "run", device=CPU)
    assert not list(shop.folder.rglob("*.pth"))


def test_a_plan_leaves_generators_logs_and_folders_alone(shop: Workshop) -> None:
    vanilla = shop.digits("vanilla.py")
    config = shop.load(method=nat({"config": str(vanilla)}))
    before, loggers = set(shop.folder.rglob("*")), dict(MMLogger._instance_dict)
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    describe_plan(config, shop.folder / "run", device=CPU, timing=True)
    assert set(shop.folder.rglob("*")) == before
    assert MMLogger._instance_dict == loggers
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.random.get_state()[1].tolist() == states[1]
    assert random.getstate() == states[2]


def test_times_are_told_for_every_training_and_together_unless_unwanted(shop: Workshop) -> None:
    vanilla = shop.digits("vanilla.py")
    config = shop.digits(method=nat({"config": str(vanilla)}))
    ran = shop.run("train.py", config, "--work-dir", shop.folder / "run", "--dry-run")
    assert ran.code == 0, ran.err
    assert len(re.findall(r"^ *time: about \d", ran.out, flags=re.MULTILINE)) == 2
    assert "time of all 2 trainings: about" in ran.out
    untimed = shop.run("train.py", config, "--work-dir", shop.folder / "run", "--dry-run", "--no-timing")
    assert not re.findall(r"^ *time", untimed.out, flags=re.MULTILINE)


def test_long_steps_are_timed_twice_and_no_more(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five steps of a large net took minutes on a CPU, only to say that it would take days."""
    counts = []
    for long in (rehearsal.LONG, 0.0):
        monkeypatch.setattr(rehearsal, "LONG", long)
        steps = []
        monkeypatch.setattr(Learner, "train_step", _counted(Learner.train_step, steps))
        lines = describe_plan(shop.load(), shop.folder / "run", device=CPU, timing=True)
        assert any(line.startswith("time: about") for line in lines)
        counts.append(len(steps))
    assert counts == [rehearsal.WARM_UP + rehearsal.STEPS, 2]


def _counted(step: Any, steps: list[int]) -> Any:
    def train_step(self: Learner, *rest: Any, **named: Any) -> Any:
        steps.append(1)
        return step(self, *rest, **named)

    return train_step


def test_what_the_best_epoch_is_and_where_training_starts(shop: Workshop) -> None:
    lines = plan(shop, select={"attack": {"type": "PGD", "steps": 3, "step_size": 0.1}, "every": 2})
    (best,) = [line for line in lines if line.startswith("best: ")]
    assert "100 held-out training images, by accuracy under PGD-3 (Linf 51/255), every 2 epochs and the last" in best
    assert "start: random, seed 0" in lines
    assert "best: the last epoch (no images are held out)" in plan(shop, data={"heldout": 0})


L2 = {"type": "L2", "eps": 128 / 255}
CHOOSER = {key: DIGITS["task"][key] for key in ("type", "model", "model_args")}


@pytest.mark.parametrize(
    ("method", "threat"),
    [
        ({"type": "Adversarial", "views": ("adv",), "attack": {**PGD, "threat": L2}}, "L2 128/255"),
        (
            {"type": "AWP", "method": {"type": "Adversarial", "views": ("adv",), "attack": PGD}, "gamma": 0.01},
            "Linf 51/255",
        ),
        ({"type": "FreeTraining", "threat": PGD["threat"], "replays": 2}, "Linf 51/255"),
        (
            {
                "type": "Adversarial",
                "attack": {
                    "type": "WorstOf",
                    "threat": L2,
                    "attacks": [{"type": "FGSM"}],
                    "objective": {"type": "CrossEntropy"},
                },
            },
            "L2 128/255",
        ),
        ({"type": "LAS", "strategy": CHOOSER}, "Linf 8/255"),
        ({"type": "AWP", "method": {"type": "LAS", "strategy": CHOOSER, "probe": {**PGD, "threat": L2}}}, "L2 128/255"),
    ],
    ids=["L2", "AWP", "free", "worst of", "LAS", "LAS with a probe"],
)
def test_the_best_epoch_is_chosen_on_the_threat_of_the_training_by_default(
    shop: Workshop, method: dict[str, Any], threat: str
) -> None:
    """Though the config's own threat, which tests attack in, is another."""
    config = {"method": method, "threat": {"type": "Linf", "eps": 0.1}}
    (best,) = [line for line in plan(shop, **config) if line.startswith("best: ")]
    assert f"by accuracy under PGD-10 ({threat}), every epoch" in best
    (best,) = [line for line in plan(shop, **config, select={"attack": None}) if line.startswith("best: ")]
    assert "by clean accuracy, every epoch" in best


def test_a_training_against_nothing_is_chosen_by_its_clean_score(shop: Workshop) -> None:
    (best,) = [line for line in plan(shop) if line.startswith("best: ")]
    assert "by clean accuracy, every epoch" in best


def folders(root: Path, *, side: int) -> None:
    for split in ("train", "test"):
        for label in "ab":
            (root / split / label).mkdir(parents=True)
            for i in range(6):
                Image.new("RGB", (side, side), (40 * i, 9, 9)).save(root / split / label / f"{i}.png")


def of_folders(shop: Workshop, **sizes: int) -> list[str]:
    data: dict[str, Any] = {
        "train": {
            "type": "ImageFolder",
            "root": str(shop.folder / "train"),
            "train": True,
            **sizes,
        },
        "test": {"type": "ImageFolder", "root": str(shop.folder / "test"), **sizes},
        "heldout": 2,
        "batch_size": 2,
    }
    return plan(shop, data=data, task={"num_classes": 2, "model_args": {"in_chans": 3}})


def test_sizes_as_trained_tested_and_stored(shop: Workshop) -> None:
    folders(shop.folder, side=16)
    lines = of_folders(shop, image_size=16, resize=16)
    assert "images: 3x16x16 in training, 3x16x16 in tests, stored as 16x16" in lines
    assert not [line for line in lines if line.startswith("note: ") and "images" in line]


def test_a_size_that_differs_between_training_and_tests_is_told(shop: Workshop) -> None:
    folders(shop.folder, side=24)
    lines = of_folders(shop, image_size=16, resize=24)
    assert "note: tests see images of 3x16x16 where training sees 3x24x24" in lines


def test_an_enlargement_that_nobody_asked_for_is_told(shop: Workshop) -> None:
    """ImageFolder's defaults are 224 and 256: on 64-pixel images a step is 16 times the pixels."""
    folders(shop.folder, side=64)
    (line,) = [line for line in of_folders(shop) if "enlarged" in line]
    assert "from 64x64 to 256x256" in line
    assert "16 times" in line
    assert "image_size" in line
