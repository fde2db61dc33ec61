"""The transfer matrix of checkpoints: from configs to the content of transfer.json."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from natx.attacks import Attack
from natx.config import CRAFTED, load_config, plain_dict
from natx.data import build_dataset, subset
from natx.data.classes import align_classes, check_classes
from natx.errors import ConfigError
from natx.evaluation.robust import CLEAN
from natx.judging.build import build_attacks, load_task
from natx.judging.identity import checkpoint_remarks, normalisation_text
from natx.judging.overwrite import keep_others
from natx.judging.transfer_matrix import Matrix, transfer_matrix
from natx.models.weights import weights_path
from natx.runtime.files import sha256
from natx.runtime.progress import Meter
from natx.runtime.provenance import provenance
from natx.task import Task


def judge_transfer(
    targets: Sequence[tuple[str, str]],
    attacks: Config,
    *,
    sources: Sequence[tuple[str, str]] = (),
    device: torch.device,
    ema: bool = False,
    options: dict[str, Any] | None = None,
    subset_size: int | None = None,
    batch_size: int = 250,
    seed: int | None = None,
    folder: Path | None = None,
    meter: Meter | None = None,
) -> dict[str, Any]:
    """The transfer matrix of checkpoints on the first target's test set; returns the content of transfer.json.

    Args:
        targets: pairs (training config, checkpoint); each is a source too.
        attacks: an attack config.
        sources: further pairs to craft on.
        device: where to run.
        ema: take the average of the weights that each checkpoint holds beside them.
        options: overrides of every training config.
        subset_size: only so many test images, see :func:`natx.data.subset`.
        batch_size: images per step.
        seed: overrides the attacks' seeds.
        folder: where the matrix will be written; one of other models, images or attacks is not written over.
        meter: progress display.

    Raises:
        ConfigError: models with other test images, classes or input sizes.
    """
    if batch_size < 1:
        raise ConfigError(f"--batch-size must be at least 1; got {batch_size}")
    built = build_attacks(attacks, seed=seed, path=attacks.filename or "attack config")
    pairs = [*targets, *sources]
    names, models = _names(pairs), []
    whole: Any = None
    notes: list[str] = []
    tasks: dict[str, Task] = {}
    for name, (path, checkpoint) in zip(names, pairs):
        config = load_config(path, kind=CRAFTED, options=options)
        data = build_dataset(plain_dict(config.data.test))
        whole = whole or data
        if data.fingerprint() != whole.fingerprint():
            raise ConfigError(f"{path} is tested on other images than {pairs[0][0]}: compare models of one test set")
        file = weights_path(checkpoint)
        task, meta = load_task(config, file, ema=ema)
        if not tasks:
            whole, notes = align_classes(whole, task.classes)
        check_classes(whole, task.classes, owner=str(path), remedy="compare models that number the classes alike")
        task.check_data(whole)
        tasks[name] = task.to(device)
        described = {"config": str(path), "checkpoint": str(file), "checkpoint_sha256": sha256(file)}
        settings = {"weights": meta["weights"], "normalisation": normalisation_text(task)}
        models.append({"name": name, **described, **settings})
        remarks = checkpoint_remarks(config, meta, task, threats=[attack.threat for attack in built], dataset=whole)
        notes += [f"{name}: {note}" for note in remarks]
    dataset = subset(whole, subset_size)
    threat = ", ".join(dict.fromkeys(str(attack.threat) for attack in built))
    question = {"models": [_weights(model) for model in models], "images": len(dataset), "threat": threat}
    question["attack_config"] = str(attacks.filename)
    if folder is not None:
        keep_others(folder / "transfer.json", question, stored=_question, option="--out")
    victims = {name: tasks[name] for name in names[: len(targets)]}
    further = {name: tasks[name] for name in names[len(targets) :]}
    matrix = transfer_matrix(victims, dataset, built, sources=further, batch_size=batch_size, meter=meter)
    notes += [f"{attack} on {source}: {note}" for (attack, source), met in matrix.notes.items() for note in met]
    return {
        "models": models,
        "images": len(dataset),
        "of": len(whole),
        "threat": threat,
        "clean": {target: matrix.accuracy(CLEAN, target) for target in matrix.targets},
        "attacks": [_entry(matrix, attack) for attack in built],
        "flags": matrix.flags(),
        **({"notes": notes} if notes else {}),
        "settings": {"attack_config": str(attacks.filename), "batch_size": batch_size, "seed": built[0].seed},
        "provenance": provenance(device),
    }


def _weights(model: dict[str, Any]) -> tuple[Any, ...]:
    """What tells a model of a matrix from others."""
    return model["name"], model["checkpoint_sha256"], model.get("weights")


def _question(report: dict[str, Any]) -> dict[str, Any]:
    """What a stored matrix answers."""
    models = [_weights(model) for model in report["models"]]
    attack_config = report["settings"]["attack_config"]
    return {"models": models, "images": report["images"], "threat": report["threat"], "attack_config": attack_config}


def _names(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """A name for each model: its config's, with its checkpoint's path where several have that."""
    stems = [Path(config).stem for config, _ in pairs]
    names = [f"{stem} ({pair[1]})" if stems.count(stem) > 1 else stem for stem, pair in zip(stems, pairs)]
    double = sorted({name for name in names if names.count(name) > 1})
    if double:
        raise ConfigError(f"{double[0]} is given twice: a target is a source already")
    return names


def _entry(matrix: Matrix, attack: Attack) -> dict[str, Any]:
    accuracy = {
        source: {target: matrix.accuracy(attack.name, source, target) for target in matrix.targets}
        for source in matrix.sources
    }
    costs = {source: vars(matrix.costs[attack.name, source]) for source in matrix.sources}
    return {"name": attack.name, "settings": attack.describe(), "accuracy": accuracy, "cost": costs}
