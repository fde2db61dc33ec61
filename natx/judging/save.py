"""From a config, a checkpoint and an attack config to adversarial images in files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from natx.config import JUDGED, check
from natx.data import subset
from natx.errors import ConfigError
from natx.evaluation.saved import save_adversarial
from natx.judging.build import build_attacks, images_at_once, load_data, load_task
from natx.registry import TASKS
from natx.runtime.progress import Meter


def check_saving(config: Config, folder: Path) -> None:
    """Raise ConfigError, before anything runs, where :func:`save_judged` could not save to a folder.

    Args:
        config: a training config.
        folder: must be new or empty.
    """
    check(config, JUDGED)
    if not TASKS.get(config.task.type).per_image_success:
        raise ConfigError(f"--save-adv is for tasks with an accuracy per image; a {config.task.type} has none")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"--save-adv {folder}: exists already and is not empty: give a new folder, or remove it")


def save_judged(
    config: Config,
    checkpoint: Path,
    attacks: Config,
    folder: Path,
    *,
    device: torch.device,
    ema: bool = False,
    subset_size: int | None = None,
    batch_size: int | None = None,
    seed: int | None = None,
    meter: Meter | None = None,
) -> list[dict[str, Any]]:
    """Save adversarial images of a checkpoint on the config's test set, as :func:`natx.judging.judge.judge` makes them.

    The attacks run once more for it. Arguments as there; ``folder`` is described at
    :func:`natx.evaluation.saved.save_adversarial`.

    Returns:
        What is known of each column's images, as there.
    """
    check(config, JUDGED)
    built = build_attacks(attacks, seed=seed, path=attacks.filename or "attack config")
    task, _ = load_task(config, checkpoint, ema=ema)
    dataset, _ = load_data(config, task)
    return save_adversarial(
        task.to(device),
        subset(dataset, subset_size),
        built,
        folder,
        batch_size=images_at_once(batch_size, attacks, task),
        success=attacks.get("success", "any"),
        meter=meter,
    )
