"""The transfer matrix of checkpoints: from configs to transfer.json and transfer.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from natx.attacks import Attack
from natx.config import load_config, plain_dict, require
from natx.data import build_dataset, subset
from natx.errors import ConfigError
from natx.evaluation.cells import settings_text
from natx.evaluation.robust import CLEAN
from natx.evaluation.transfer_matrix import Matrix, transfer_matrix
from natx.files import sha256, write_json, write_text
from natx.judging import build_attacks, load_task
from natx.progress import Meter
from natx.provenance import provenance
from natx.task import Task


def judge_transfer(
    targets: Sequence[tuple[str, str]],
    attacks: Config,
    *,
    sources: Sequence[tuple[str, str]] = (),
    device: torch.device,
    options: dict[str, Any] | None = None,
    subset_size: int | None = None,
    batch_size: int = 250,
    seed: int | None = None,
    meter: Meter | None = None,
) -> dict[str, Any]:
    """The transfer matrix of checkpoints on the first target's test set; returns the content of transfer.json.

    Args:
        targets: pairs (training config, checkpoint); each is a source too.
        attacks: an attack config.
        sources: further pairs to craft on.
        device: where to run.
        options: overrides of every training config.
        subset_size: only so many test images, see :func:`natx.data.subset`.
        batch_size: images per step.
        seed: overrides the attacks' seeds.
        meter: progress display.

    Raises:
        ConfigError: models with other test images, classes or input sizes.
    """
    if batch_size < 1:
        raise ConfigError(f"--batch-size must be at least 1; got {batch_size}")
    built = build_attacks(attacks, seed=seed, path=attacks.filename or "attack config")
    pairs = [*targets, *sources]
    names, models, whole = _names(pairs), [], None
    tasks: dict[str, Task] = {}
    for name, (path, checkpoint) in zip(names, pairs):
        config = load_config(path, options=options)
        require(config, ("task", "data.test"), path=path)
        data = build_dataset(plain_dict(config.data.test))
        whole = whole or data
        if data.fingerprint() != whole.fingerprint():
            raise ConfigError(f"{path} is tested on other images than {pairs[0][0]}: compare models of one test set")
        tasks[name], _ = load_task(config, Path(checkpoint))
        tasks[name].check_data(whole)
        tasks[name].to(device)
        described = {"config": str(path), "checkpoint": str(checkpoint), "checkpoint_sha256": sha256(Path(checkpoint))}
        models.append({"name": name, **described})
    dataset = subset(whole, subset_size)
    asked = {name: tasks[name] for name in names[: len(targets)]}
    further = {name: tasks[name] for name in names[len(targets) :]}
    matrix = transfer_matrix(asked, dataset, built, sources=further, batch_size=batch_size, meter=meter)
    return {
        "models": models,
        "images": len(dataset),
        "of": len(whole),
        "threat": ", ".join(dict.fromkeys(str(attack.threat) for attack in built)),
        "clean": {target: matrix.accuracy(CLEAN, target) for target in matrix.targets},
        "attacks": [_entry(matrix, attack) for attack in built],
        "flags": matrix.flags(),
        "settings": {"attack_config": str(attacks.filename), "batch_size": batch_size, "seed": built[0].seed},
        "provenance": provenance(device),
    }


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


def markdown(report: dict[str, Any]) -> str:
    """The report as Markdown: a matrix for each attack."""
    targets = list(report["clean"])
    lines = [
        "# Transfer between models",
        "",
        f"Accuracy in percent under **{report['threat']}** on {report['images']} of {report['of']} test images: a row "
        "is the model that the attack was run on, a column the model that was asked about the result. **Bold** is the "
        "white-box attack: in its column no other number should be below it. One that is by more than 0.2 points (!) "
        "says that the white-box attack was hindered, as by masked gradients, and not that the model is robust.",
    ]
    flagged = {(flag["attack"], flag["source"], flag["target"]) for flag in report["flags"]}
    for attack in report["attacks"]:
        lines += ["", f"## {attack['name']}", "", "| crafted on | " + " | ".join(targets) + " |"]
        lines += ["|---|" + "---:|" * len(targets)]
        lines += ["| nothing (clean) | " + " | ".join(f"{report['clean'][t]:.2f}" for t in targets) + " |"]
        for source, row in attack["accuracy"].items():
            cells = [
                f"**{row[target]:.2f}**"
                if target == source
                else f"{row[target]:.2f}" + (" !" if (attack["name"], source, target) in flagged else "")
                for target in targets
            ]
            lines.append(f"| {source} | " + " | ".join(cells) + " |")
        spent = {key: sum(cost[key] for cost in attack["cost"].values()) for key in ("forwards", "backwards")}
        lines += ["", f"Cost: {spent['forwards']} forwards and {spent['backwards']} backwards."]
        lines += ["", f"Settings: {settings_text(attack['settings'])}."]
    lines += ["", "## Where transfer beats the white-box attack", ""]
    lines += [
        f"- {flag['attack']}, {flag['source']} to {flag['target']}: {flag['transfer']:.2f} below "
        f"{flag['white_box']:.2f}; {flag['missed']} images that only the transferred pixels break"
        for flag in report["flags"]
    ] or ["Nowhere."]
    lines += ["", "## Models", ""]
    lines += [
        f"- {m['name']}: {m['config']}, {m['checkpoint']} ({m['checkpoint_sha256'][:16]})" for m in report["models"]
    ]
    return "\n".join(lines) + "\n"


def write_transfer(folder: Path, report: dict[str, Any]) -> None:
    """Write transfer.json and transfer.md atomically."""
    write_json(folder / "transfer.json", report)
    write_text(folder / "transfer.md", markdown(report))
