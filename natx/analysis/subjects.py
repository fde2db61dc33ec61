"""The models of an analysis: load each, run it over the images, and see that they answer the same question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from natx.analysis.collect import CLEAN, Collected, collect
from natx.attacks import Attack
from natx.config import ANALYSED, check
from natx.data import subset
from natx.errors import CheckpointError, ConfigError
from natx.judging.build import load_data, load_task
from natx.judging.identity import checkpoint_remarks, normalisation_text
from natx.models.weights import weights_path
from natx.runtime.files import sha256
from natx.runtime.progress import Meter
from natx.task import Task


@dataclass
class Run:
    """How each model is run.

    Attributes:
        attack: makes the adversarial images, of each model its own.
        device: where to run.
        linear: whether the class layer is needed; a model without one gets a note, unless ``must`` is set.
        must: whether nothing is left to do without it.
        pixel_margins: whether margins in pixel space are.
        data: 'test' or 'train': the images of which part of the config's data.
        shown: a class that must be there, by name or number, or None.
        subset_size: only so many images, see :func:`natx.data.subset`.
        batch_size: images per step.
        meter: progress display.
        adversary: a model to be asked about the pixels of each other, or None.
        ema: take the average of the weights that each checkpoint holds beside them.
    """

    attack: Attack
    device: torch.device
    linear: bool = True
    must: bool = False
    pixel_margins: bool = True
    data: str = "test"
    shown: str | None = None
    subset_size: int | None = None
    batch_size: int = 250
    meter: Meter | None = None
    adversary: Task | None = None
    ema: bool = False


@dataclass
class Subject:
    """One model that was run.

    Attributes:
        name: its name in tables.
        settings: where it and its images come from.
        collected: what its class head said.
        classes: names of the classes that rows are of.
        outputs: names of the logits' columns: the classes, and the background where there is one.
    """

    name: str
    settings: dict[str, Any]
    collected: Collected
    classes: tuple[str, ...]
    outputs: tuple[str, ...]


def model(config: Config, checkpoint: Path, run: Run) -> Task:
    """A checkpoint's network on the run's device, to be asked about others' pixels."""
    return load_task(config, weights_path(checkpoint), ema=run.ema)[0].to(run.device)


def subject(name: str, config: Config, checkpoint: Path, run: Run) -> Subject:
    """Load a checkpoint and run it.

    Raises:
        ConfigError: the config lacks something, or the model a linear class layer that it must have.
        CheckpointError: the checkpoint does not load, or lacks the class layer.
        DataError: see :func:`natx.analysis.collect.collect`.
    """
    check(config, replace(ANALYSED, needs=("task", f"data.{run.data}")))
    checkpoint = weights_path(checkpoint)
    task, meta = load_task(config, checkpoint, ema=run.ema)
    if "head" in meta:
        raise CheckpointError(f"{meta['head']}, and an analysis is of the class layer: use a checkpoint that has it")
    whole, notes = load_data(config, task, part=run.data)
    dataset = subset(whole, run.subset_size)
    classes = tuple(str(c) for c in getattr(whole, "classes", None) or task.classes or range(task.num_classes))
    class_number(run.shown, classes)  # before anything is attacked
    collected = collect(
        task.to(run.device),
        dataset,
        run.attack,
        linear=run.linear,
        pixel_margins=run.pixel_margins,
        adversary=run.adversary,
        batch_size=run.batch_size,
        meter=run.meter,
        name=name,
    )
    if run.must and collected.weight is None:
        raise ConfigError(f"{name}: {collected.notes[0]}")
    remarks = checkpoint_remarks(config, meta, task, threats=[run.attack.threat], dataset=dataset)
    collected.notes[:0] = [*notes, *remarks]
    extra = collected.views[CLEAN].logits.shape[1] - len(classes)
    settings = {
        "config": str(config.filename),
        "checkpoint": str(checkpoint),
        "checkpoint_sha256": sha256(checkpoint),
        "weights": meta["weights"],
        "normalisation": normalisation_text(task),
        "trained_epochs": meta.get("epoch", "unknown"),
        "data": f"{config.data[run.data].type} ({run.data}), {len(dataset)} of {len(whole)} images",
        "data_fingerprint": whole.fingerprint()[:16],
        "batch_size": run.batch_size,
    }
    return Subject(name, settings, collected, classes, (*classes, *["background"] * extra))


def check_alike(first: Subject, other: Subject) -> None:
    """Raise ConfigError where two models do not answer the same question."""
    if first.outputs != other.outputs:
        raise ConfigError(
            f"{first.name} tells {len(first.outputs)} classes apart and {other.name} {len(other.outputs)}, or others: "
            "compare models of the same classes"
        )
    if first.settings["data_fingerprint"] != other.settings["data_fingerprint"]:
        raise ConfigError(
            f"{first.name} and {other.name} name different images in data: analyse models of one data set together"
        )


def class_number(shown: str | None, classes: Sequence[str]) -> int:
    """The position of a class given by name or number, 0 for None; raises ConfigError for one that is not there."""
    if shown is None:
        return 0
    if shown in classes:
        return list(classes).index(shown)
    if shown.isdigit() and int(shown) < len(classes):
        return int(shown)
    listed = ", ".join(classes[:10]) + (", ..." if len(classes) > 10 else "")
    raise ConfigError(f"--class {shown} is no class: give a name ({listed}) or a number below {len(classes)}")


def subject_names(configs: Sequence[Config]) -> list[str]:
    """The configs' names; a number behind those that come again."""
    names: list[str] = []
    for config in configs:
        stem, number = Path(config.filename or "model").stem, 1
        name = stem
        while name in names:
            number += 1
            name = f"{stem} ({number})"
        names.append(name)
    return names
