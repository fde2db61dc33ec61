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
from natx.evaluation import Metric, evaluate, evaluate_set
from natx.evaluation.pictures import draw_pictures
from natx.evaluation.report import make_report, make_set_report
from natx.files import sha256
from natx.progress import Meter
from natx.provenance import provenance
from natx.registry import METRICS, TASKS
from natx.task import Task


def load_task(config: Config, checkpoint: Path) -> tuple[Task, dict[str, Any]]:
    """The config's task with a checkpoint's weights, in eval mode, and the checkpoint's natx meta (or {}).

    Tasks that can be tested without their class layer take weights with another one; see
    :func:`natx.checkpoint.load_weights`.

    Raises:
        CheckpointError: see :func:`natx.checkpoint.load_weights`.
    """
    settings = plain_dict(config.task)
    # All weights come from the checkpoint: nothing is downloaded first.
    settings.update({key: value for key, value in dict(pretrained=False, checkpoint=None).items() if key in settings})
    task = TASKS.build(settings)
    meta = load_weights(task, checkpoint, without_head=True)
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
    pictures: Path | None = None,
) -> dict[str, Any]:
    """Evaluate a checkpoint on the config's test set; returns the content of report.json.

    Args:
        config: a training config (its ``task``, ``data.test`` and, for set-level tasks, ``metric`` count).
        checkpoint: natx or upstream weights.
        attacks: an attack config: ``attacks``, and optionally ``threat`` and ``success``.
        device: where to run.
        name: the row's name in tables.
        subset_size: only so many test images, see :func:`natx.data.subset`.
        batch_size: images per step for attacks whose result does not depend on it.
        seed: overrides the attacks' seeds.
        meter: progress display.
        pictures: folder in which a set-level task draws examples before and after each attack.
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
    settings = {
        "config": str(config.filename),
        "attack_config": str(attacks.filename),
        "checkpoint": str(checkpoint),
        "checkpoint_sha256": sha256(checkpoint),
        "trained_epochs": meta.get("epoch", "unknown"),
        "selected_on": meta.get("selected_on", "unknown"),
        "data": f"{config.data.test.type}, {_which(whole, subset_size)}",
        "data_fingerprint": whole.fingerprint()[:16],
        "batch_size": batch_size,
        "seed": built[0].seed,
        "processes": get_dist_info()[1],
        "precision": "float32",
        **({"head": meta["head"]} if "head" in meta else {}),
    }
    common = {
        "name": name or Path(config.filename or "model").stem,
        "threat": ", ".join(dict.fromkeys(str(attack.threat) for attack in built)),
        "settings": settings,
        "provenance": provenance(device),
    }
    if task.per_image_success:
        success = attacks.get("success", "any")
        evaluation = evaluate(task, dataset, built, batch_size=batch_size, success=success, meter=meter)
        return make_report(evaluation, **common)
    metric = build_metric(config)
    judged = evaluate_set(task, dataset, built, metric=metric, batch_size=batch_size, meter=meter)
    report = make_set_report(judged, metric=metric, paper=paper_row(config, attacks), **common)
    if pictures is not None and get_dist_info()[0] == 0 and judged.examples is not None:
        drawn = draw_pictures(pictures, dataset, metric, examples=judged.examples)
        report.update({"pictures": drawn} if drawn else {})
    return report


def build_metric(config: Config) -> Metric:
    """The metric of a set-level task's config; raises ConfigError where there is none."""
    if config.get("metric") is None:
        raise ConfigError(f"{config.task.type} has no accuracy per image: add metric=dict(type=...) to the config")
    return METRICS.build(plain_dict(config.metric))


def paper_row(config: Config, attacks: Config) -> dict[str, Any] | None:
    """The paper's row (``name``, ``cells``) of a config in the attack config's ``paper`` table, if both name one."""
    row = config.get("paper_row")
    if row is None or row not in attacks.get("paper", {}):
        return None
    return {"name": f"paper: {row}", "cells": plain_dict(attacks.paper[row])}


def _which(whole: Any, count: int | None) -> str:
    """Which images a subset has, in words; see :func:`natx.data.subset`."""
    attacked = getattr(whole, "attacked", None)
    if attacked is not None:
        return f"{'all' if count is None else f'{count} evenly spaced of the'} {len(attacked)} query images"
    if count is None or count == len(whole):
        return f"all {len(whole)} of {len(whole)} test images"
    chosen = f"{count} evenly spaced" if getattr(whole, "sorted_by_class", False) else f"the first {count}"
    return f"{chosen} of {len(whole)} test images"
