"""Training from Python: one call with a config's name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from natx.config import TRAINING, load_config
from natx.runtime.device import pick_device
from natx.training.run import train as run_training


def run_folder(config: Config, *, usual_seed: int) -> Path:
    """Where a training writes by default: ``work_dirs/<config name>``, with ``-seed<N>`` where it is not the usual."""
    name = Path(str(config.filename)).stem
    return Path("work_dirs", name if config.seed == usual_seed else f"{name}-seed{config.seed}")


def train(
    config: str | Path,
    *,
    work_dir: str | Path | None = None,
    options: dict[str, Any] | None = None,
    seed: int | None = None,
    device: torch.device | str | None = None,
    resume: bool = False,
) -> Path:
    """Train a config as ``natx train`` does, its adversaries first: ``natx.load(natx.train("cls/digits_nat"))``.

    Args:
        config: a config's file, or the name of a shipped one.
        work_dir: where to write; see :func:`run_folder` for the default.
        options: overrides by dotted key, such as ``{"train_cfg.max_epochs": 3}``.
        seed: overrides the config's.
        device: where to train; the machine's accelerator by default.
        resume: go on with the run in the work dir, if there is one.

    Returns:
        The path of the best weights.

    Raises:
        UserError: anything in the config or data that does not fit.
    """
    shipped = load_config(config, kind=TRAINING)
    changes = {**(options or {}), **({} if seed is None else {"seed": seed})}
    loaded = load_config(config, kind=TRAINING, options=changes) if changes else shipped
    folder = run_folder(loaded, usual_seed=shipped.seed) if work_dir is None else Path(work_dir)
    return run_training(loaded, folder, device=pick_device(device), resume=resume)
