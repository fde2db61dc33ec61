"""From a config, a checkpoint and an attack config to a report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import get_dist_info

from natx.attacks import Attack, build_attack
from natx.checkpoint import load_weights
from natx.config import plain_dict, require
from natx.data import build_dataset, subset
from natx.errors import ConfigError
from natx.evaluation import evaluate
from natx.evaluation.report import make_report
from natx.files import sha256
from natx.progress import Meter
from natx.provenance import provenance
from natx.registry import TASKS
from natx.task import Task


def load_task(config: Config, checkpoint: Path) -> tuple[Task, dict[str, Any]]:
    """The config's task with a checkpoint's weights, in eval mode, and the checkpoint's natx meta (or {}).

    Raises:
        CheckpointError: see :func:`natx.checkpoint.load_weights`.
    """
    settings = plain_dict(config.task)
    # All weights come from the checkpoint: nothing is downloaded first.
    settings.update({key: value for key, value in dict(pretrained=False, checkpoint=None).items() if key in settings})
    task = TASKS.build(settings)
    meta = load_weights(task, checkpoint)
    return task.eval(), meta


def build_attacks(config: Config, *, seed: int | None = None, path: str | Path = "attack config") -> list[Attack]:
    """The attacks of an attack config; ``seed`` overrides each attack's."""
    require(config, ("attacks",), path=path)
    attacks = [build_attack(plain_dict(a), threat=plain_dict(config).get("threat")) for a in config.attacks]
    for attack in attacks:
        attack.seed = attack.seed if seed is None else seed
    if not attacks:
        raise ConfigError(f"{path} lists no attacks")
    return attacks


def judge(
    config: Config,
    checkpoint: Path,
    attacks: Config,
    *,
    device: torch.device,
    name: str | None = None,
    subset_size: int | None = None,
    batch_size: int = 250,
    seed: int | None = None,
    meter: Meter | None = None,
) -> dict[str, Any]:
    """Evaluate a checkpoint on the config's test set; returns the content of report.json.

    Args:
        config: a training config (its ``task`` and ``data.test`` count).
        checkpoint: natx or upstream weights.
        attacks: an attack config: ``attacks``, and optionally ``threat`` and ``success``.
        device: where to run.
        name: the row's name in tables.
        subset_size: only the first so many test images.
        batch_size: images per step for attacks whose result does not depend on it.
        seed: overrides the attacks' seeds.
        meter: progress display.
    """
    if batch_size < 1:
        raise ConfigError(f"--batch-size must be at least 1; got {batch_size}")
    require(config, ("task", "data.test"), path=config.filename or "config")
    built = build_attacks(attacks, seed=seed, path=attacks.filename or "attack config")
    task, meta = load_task(config, checkpoint)
    task.to(device)
    whole = build_dataset(plain_dict(config.data.test))
    task.check_data(whole)
    dataset = subset(whole, subset_size)
    success = attacks.get("success", "any")
    evaluation = evaluate(task, dataset, built, batch_size=batch_size, success=success, meter=meter)
    settings = {
        "config": str(config.filename),
        "attack_config": str(attacks.filename),
        "checkpoint": str(checkpoint),
        "checkpoint_sha256": sha256(checkpoint),
        "trained_epochs": meta.get("epoch", "unknown"),
        "selected_on": meta.get("selected_on", "unknown"),
        "data": f"{config.data.test.type}, {_which(whole, len(dataset))} of {len(whole)} test images",
        "data_fingerprint": whole.fingerprint()[:16],
        "batch_size": batch_size,
        "seed": built[0].seed,
        "processes": get_dist_info()[1],
        "precision": "float32",
    }
    threats = ", ".join(dict.fromkeys(str(attack.threat) for attack in built))
    return make_report(
        evaluation,
        name=name or Path(config.filename or "model").stem,
        threat=threats,
        settings=settings,
        provenance=provenance(device),
    )


def _which(whole: Any, count: int) -> str:
    """Which images a subset has, in words; see :func:`natx.data.subset`."""
    if count == len(whole):
        return f"all {count}"
    return f"{count} evenly spaced" if getattr(whole, "sorted_by_class", False) else f"the first {count}"
