"""Hours of the fast recipes: a step of each config, and the steps that it takes."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from natx.batch import Batch, to_device
from natx.benchmark import Measured
from natx.benchmark.training import Trainer
from natx.config import SHIPPED, frozen_models, load_config, plain_dict
from natx.training.build import begin, build_learner
from natx.training.images import build_loader
from natx_bench.common import SECONDS, Bench, item, watch

FOLDER = SHIPPED / "configs" / "cls"
PATTERNS = ("r20_cifar10_*.py", "r18_cifar10_fast_*.py", "wrn28_10_cifar10_fast_*.py", "*_in100_fast_*.py")
IMAGES = {"CIFAR10": 50_000, "ImageNet100": 126_689}  # for training; of ImageNet, those of the paper's 100 classes
SIDE = {"CIFAR10": 32, "ImageNet100": 224}
PROBE, LONG = 8, 10.0  # images of the first step; seconds above which a whole batch is not run


def recipes() -> list[Path]:
    """The configs that are measured."""
    return sorted(path for pattern in PATTERNS for path in FOLDER.glob(pattern))


def without_files(path: Path) -> Config:
    """A config in bfloat16 that needs no images, and whose network and frozen companions have random weights."""
    loaded = load_config(path)
    config = Config(plain_dict(loaded), filename=loaded.filename)
    config.amp = "bfloat16"
    config.data.on_device, config.data.num_workers = False, 0
    if config.task.get("pretrained"):
        config.task.pretrained = False
    for entry in frozen_models(config):
        entry.clear()
        entry.update(task=config.task, state="random")
    return config


def random_batch(config: Config, count: int) -> Batch:
    """Images of the size of a config's data set, with random labels."""
    generator, side = torch.Generator().manual_seed(0), SIDE[config.data.train.type]
    return {
        "inputs": torch.rand(count, 3, side, side, generator=generator),
        "data_samples": torch.randint(config.task.num_classes, (count,), generator=generator),
        "index": torch.arange(count),
    }


def training_steps(config: Config, images: int) -> int:
    """Steps of a whole training; a batch that is replayed counts each time."""
    return len(build_loader(config, range(images))) * config.train_cfg.max_epochs


def hours_row(bench: Bench, path: Path) -> dict[str, Any]:
    """A recipe's line: seconds of a step of its batch, steps, hours.

    A large network's step is measured on a few images and multiplied, which counts a little too much: small batches are
    not faster an image.
    """
    config, seconds = without_files(path), watch(bench)
    images = IMAGES[config.data.train.type] - config.data.get("heldout", 0)
    learner = build_learner(config, seed=0).to(bench.device)
    learner.method.prepare(learner.task, bench.device)
    begin(learner, images=images, config=config, folder=None)
    step, batch_size = Trainer(learner), config.data.batch_size

    def measure(count: int, repeats: int) -> float:
        batch = to_device(random_batch(config, count), bench.device)
        return statistics.median(seconds(lambda: step(batch))[0] for _ in range(repeats))

    measure(PROBE, 1)
    probed = measure(PROBE, 1) * batch_size / PROBE
    whole = probed <= LONG
    step_seconds = measure(batch_size, bench.repeats) if whole else probed
    steps = training_steps(config, images)
    return {
        "config": path.stem,
        "batch": batch_size,
        "measured on": batch_size if whole else PROBE,
        "step, s": round(step_seconds, 4),
        "epochs": config.train_cfg.max_epochs,
        "steps": steps,
        "hours": round(steps * step_seconds / 3600, 3),
    }


@item("recipe_hours", a="hours of the fast recipes (table below)", b="-", setting=dict(model="several", batch_size=0))
def recipe_hours(bench: Bench) -> Measured:
    details = {
        "method": "one step of each config in bfloat16 on random images, with random frozen networks, times its steps; "
        "neither reading images nor the choice of the best epoch is in it",
        "seconds": SECONDS,
        "recipes": [hours_row(bench, path) for path in recipes()],
    }
    return Measured(None, details=details)
