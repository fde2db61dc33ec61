"""What a config names, built: the task with its weights, the attacks, the metric."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.config import Config

from natx.attacks import Attack, build_attack
from natx.attacks.sources import with_sources
from natx.config import ATTACKS, check, plain_dict
from natx.data import build_dataset
from natx.data.classes import align_classes
from natx.errors import ConfigError
from natx.evaluation import Metric
from natx.models.checkpoint import load_weights
from natx.models.weights import without_weights
from natx.registry import METRICS, TASKS
from natx.task import Task


def load_task(config: Config, checkpoint: Path, *, ema: bool = False) -> tuple[Task, dict[str, Any]]:
    """The config's task with a checkpoint's weights, in eval mode, and the checkpoint's natx meta (or {}).

    Tasks that can be tested without their class layer take weights with another one; see
    :func:`natx.models.checkpoint.load_weights`.

    Raises:
        CheckpointError: see :func:`natx.models.checkpoint.load_weights`.
    """
    # All weights come from the checkpoint: nothing is downloaded first.
    task = TASKS.build(without_weights(plain_dict(config.task)))
    meta = load_weights(task, checkpoint, without_head=True, ema=ema)
    return task.eval(), meta


def load_data(config: Config, task: Task, *, part: str = "test") -> tuple[Any, list[str]]:
    """The images of a part of the config's data as a task numbers their classes, and remarks on what was changed.

    Raises:
        DataError: classes that are not the task's, see :func:`natx.data.classes.align_classes`.
    """
    dataset = build_dataset(plain_dict(config.data[part]))
    if hasattr(dataset, "for_evaluation"):
        dataset = dataset.for_evaluation()
    dataset, notes = align_classes(dataset, task.classes)
    task.check_data(dataset)
    # A set's metric reports its remarks itself; those on the order of classes are settled where names were compared.
    own = getattr(dataset, "notes", []) if task.per_image_success and not task.classes else []
    return dataset, [*notes, *own]


def build_attacks(config: Config, *, seed: int | None = None, path: str | Path = "attack config") -> list[Attack]:
    """The attacks of an attack config; ``seed`` overrides each attack's."""
    check(config, ATTACKS, path=path)
    attacks = [build_attack(entry, threat=plain_dict(config).get("threat")) for entry in attack_dicts(config)]
    for attack in attacks:
        attack.seed = attack.seed if seed is None else seed
    if not attacks:
        raise ConfigError(f"{path} lists no attacks")
    return attacks


def images_at_once(batch_size: int | None, attacks: Config, task: Task) -> int:
    """Images per step of a judging: as asked, else as the attack config says, else the task's own number."""
    return batch_size or attacks.get("batch_size") or task.judged_at_once


def attack_dicts(config: Config) -> list[dict[str, Any]]:
    """The attacks of an attack config as they are built: with its ``sources`` in place of their names.

    Raises:
        ConfigError: a name that is none of the sources.
    """
    whole = plain_dict(config)
    return with_sources(whole["attacks"], whole.get("sources", {}))


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
