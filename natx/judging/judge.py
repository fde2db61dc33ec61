"""From a config, a checkpoint and an attack config to a report."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import get_dist_info

from natx.attacks import Attack, build_attack
from natx.attacks.sources import with_sources
from natx.checks import AuditOptions, audit, audited
from natx.config import VOLATILE_DATA, fingerprint, plain_dict, refuse_misspelt, require
from natx.data import build_dataset, subset
from natx.errors import ConfigError
from natx.evaluation import Metric, evaluate, evaluate_set
from natx.evaluation.progress import Progress, by_content
from natx.models.checkpoint import load_weights
from natx.registry import METRICS, TASKS
from natx.report.class_pictures import draw_class_pictures
from natx.report.pictures import draw_pictures
from natx.report.report import make_report, make_set_report
from natx.runtime.files import sha256
from natx.runtime.progress import Meter
from natx.runtime.provenance import package_versions, provenance
from natx.task import Task
from natx.training.frozen import frozen_models, recipe

# What is read of an attack config; ``paper`` is for tables.
ATTACK_KEYS = ("attacks", "threat", "success", "pool", "sources", "paper")


def load_task(config: Config, checkpoint: Path) -> tuple[Task, dict[str, Any]]:
    """The config's task with a checkpoint's weights, in eval mode, and the checkpoint's natx meta (or {}).

    Tasks that can be tested without their class layer take weights with another one; see
    :func:`natx.models.checkpoint.load_weights`.

    Raises:
        CheckpointError: see :func:`natx.models.checkpoint.load_weights`.
    """
    settings = plain_dict(config.task)
    # All weights come from the checkpoint: nothing is downloaded first.
    settings.update({key: value for key, value in dict(pretrained=False, checkpoint=None).items() if key in settings})
    task = TASKS.build(settings)
    meta = load_weights(task, checkpoint, without_head=True)
    return task.eval(), meta


def build_attacks(config: Config, *, seed: int | None = None, path: str | Path = "attack config") -> list[Attack]:
    """The attacks of an attack config; ``seed`` overrides each attack's."""
    refuse_misspelt(config, ATTACK_KEYS, path=path)
    require(config, ("attacks",), path=path)
    attacks = [build_attack(given, threat=plain_dict(config).get("threat")) for given in attack_dicts(config)]
    for attack in attacks:
        attack.seed = attack.seed if seed is None else seed
    if not attacks:
        raise ConfigError(f"{path} lists no attacks")
    return attacks


def attack_dicts(config: Config) -> list[dict[str, Any]]:
    """The attacks of an attack config as they are built: with its ``sources`` in place of their names.

    Raises:
        ConfigError: a name that is none of the sources.
    """
    whole = plain_dict(config)
    return with_sources(whole["attacks"], whole.get("sources", {}))


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
    progress: Path | None = None,
    resume: bool = False,
    checks: AuditOptions | None = None,
    paper: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Evaluate a checkpoint on the config's test set; returns the content of report.json.

    Args:
        config: a training config (its ``task``, ``data.test`` and, for set-level tasks, ``metric`` count).
        checkpoint: natx or upstream weights.
        attacks: an attack config: ``attacks``, and optionally ``threat``, ``success`` and ``pool``, which are explained
            at :func:`natx.evaluation.evaluate`, and ``sources``: models by name, for attacks that look at others.
        device: where to run.
        name: the row's name in tables.
        subset_size: only so many test images, see :func:`natx.data.subset`.
        batch_size: images per step for attacks whose result does not depend on it.
        seed: overrides the attacks' seeds.
        meter: progress display.
        pictures: folder in which examples before and after each attack are drawn.
        progress: folder that keeps the outcomes of finished blocks of images, where the task has any per image; to be
            cleared (:func:`natx.evaluation.progress.clear_progress`) once the report is written.
        resume: go on with what that folder holds, if it holds anything; without, a folder that does is refused.
        checks: also run the reliability checks (:func:`natx.checks.audit`), on the first process.
        paper: the paper's row to print beside ours (``name``, and ``cells``: text by column), where neither config has
            one of its own (:func:`paper_row`).
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
        "config_fingerprint": _training_identity(config),
        "training_seed": meta.get("seed", "unknown"),
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
    job = _Job(config, attacks, built, task, dataset, batch_size, meter)
    job.common = {
        "name": name or Path(config.filename or "model").stem,
        "threat": ", ".join(dict.fromkeys(str(attack.threat) for attack in built)),
        "settings": settings,
        "provenance": provenance(device),
        "paper": paper_row(config, attacks) or paper,
    }
    if not isinstance(attacks.get("pool", False), bool):
        raise ConfigError(f"pool is True (only the worst case is wanted) or False; got {attacks.pool!r}")
    if task.per_image_success:
        report = _judge_images(job, pictures=pictures, progress=progress, resume=resume, checks=checks)
    elif resume or attacks.get("pool", False):
        raise ConfigError(
            f"{'--resume' if resume else 'pool=True'} is for tasks in which an image by itself is right or wrong; a "
            f"{type(task).__name__} is measured over the whole set: leave it out"
        )
    else:
        report = _judge_set(job, pictures=pictures, audited_too=checks is not None)
    report["notes"] = [*report.get("notes", []), *_other_training(config, meta)]
    return report


def _other_training(config: Config, meta: dict[str, Any]) -> list[str]:
    """A note where a checkpoint says that another training than the config's made it."""
    own = recipe(config)
    differing = [part for part, trained in meta.get("recipe", {}).items() if own.get(part) != trained]
    if not differing:
        return []
    name = Path(config.filename or "this config").name
    return [f"the checkpoint was trained with other settings of {', '.join(differing)} than {name} has now"]


@dataclass
class _Job:
    """What is judged; ``common`` is what every report says."""

    config: Config
    attacks: Config
    built: list[Attack]
    task: Task
    dataset: Any
    batch_size: int
    meter: Meter | None
    common: dict[str, Any] = field(default_factory=dict)


def _judge_images(
    job: _Job, *, pictures: Path | None, progress: Path | None, resume: bool, checks: AuditOptions | None
) -> dict[str, Any]:
    """The report of a task in which an image by itself is right or wrong; arguments as for :func:`judge`."""
    task, dataset, first = job.task, job.dataset, get_dist_info()[0] == 0
    how = {"success": job.attacks.get("success", "any"), "pool": job.attacks.get("pool", False)}
    kept = None if progress is None else Progress(progress, {**_decisive(job), **how}, resume=resume)
    settled = {"batch_size": job.batch_size, "meter": job.meter}
    # Weights that do not load are refused before hours of attacks.
    vanilla = _undefended(job.config, task, checks) if checks is not None and first else None
    evaluation = evaluate(task, dataset, job.built, progress=kept, **settled, **how)
    report = make_report(evaluation, **job.common)
    if checks is not None and first:
        settled |= {"images": checks.images, "draws": checks.draws}
        report["settings"] |= {"audit": _told(checks)}
        report |= audited(audit(task, dataset, attacks=job.built, evaluation=evaluation, vanilla=vanilla, **settled))
    if pictures is not None and first:
        drawn = draw_class_pictures(pictures, task, dataset, job.built, evaluation=evaluation, success=how["success"])
        report |= {"pictures": drawn} if drawn else {}
    return report


def _told(checks: AuditOptions) -> dict[str, Any]:
    """What the audit was told, for the report's settings."""
    if checks.vanilla is None:
        return {"images": checks.images, "draws": checks.draws}
    told = {"vanilla": str(checks.vanilla), "vanilla_sha256": sha256(checks.vanilla)}
    return {"images": checks.images, "draws": checks.draws, **told}


def _judge_set(job: _Job, *, pictures: Path | None, audited_too: bool) -> dict[str, Any]:
    """The report of a task that is measured over a whole set; arguments as for :func:`judge`."""
    metric, first = build_metric(job.config), get_dist_info()[0] == 0
    judged = evaluate_set(job.task, job.dataset, job.built, metric=metric, batch_size=job.batch_size, meter=job.meter)
    report = make_set_report(judged, metric=metric, **job.common)
    report |= audited(audit(job.task, job.dataset, attacks=job.built)) if audited_too else {}
    if pictures is not None and first and judged.examples is not None:
        drawn = draw_pictures(pictures, job.dataset, metric, examples=judged.examples)
        report |= {"pictures": drawn} if drawn else {}
    return report


def _training_identity(config: Config) -> str:
    """Fingerprint of a training config without its seed, and without the weights that its seed gave to adversaries."""
    copy = Config({**plain_dict(config), "seed": 0})
    for entry in frozen_models(copy):
        if "config" in entry or "task" in entry:
            entry.pop("checkpoint", None)
    return fingerprint(copy)


def _undefended(config: Config, task: Task, checks: AuditOptions) -> Task | None:
    """A normally trained model of the config's task: the one that was named, or the model itself if it is one."""
    if checks.vanilla is not None:
        return load_task(config, checks.vanilla)[0].to(next(task.parameters()).device)
    method = config.get("method") or {}
    plain = method.get("type") == "Standard" and not method.get("terms") and config.get("start") is None
    return task if plain else None


def _decisive(job: _Job) -> dict[str, Any]:
    """Plain values that decide the outcomes of an evaluation, for :class:`natx.evaluation.progress.Progress`."""
    kept = ("checkpoint_sha256", "data_fingerprint", "data", "batch_size", "precision")
    # What each attack says of itself holds the defaults and seeds, its config what it does not say.
    described = [{**built.describe(), **given} for built, given in zip(job.built, attack_dicts(job.attacks))]
    test = plain_dict(job.config.data.test)
    return {
        **{key: job.common["settings"][key] for key in kept},
        "seeds": [attack.seed for attack in job.built],
        "threat": [str(attack.threat) for attack in job.built],
        "attacks": by_content(described),
        "task": by_content(plain_dict(job.config.task)),
        "test": by_content({key: value for key, value in test.items() if key not in VOLATILE_DATA}),
        "device": next(job.task.parameters()).device.type,
        "packages": package_versions(),
    }


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
