"""Training from Python: one call with a config's name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from natx.config import TRAINING, load_config, plain_dict, with_options
from natx.runtime.device import pick_device
from natx.training.run import train as run_training


def run_folder(config: Config, *, usual_seed: int) -> Path:
    """Where a training writes by default: ``work_dirs/<config name>``, with ``-seed<N>`` where it is not the usual."""
    name = Path(str(config.filename)).stem
    return Path("work_dirs", name if config.seed == usual_seed else f"{name}-seed{config.seed}")


def train(
    config: str | Path | Config,
    *,
    work_dir: str | Path | None = None,
    options: dict[str, Any] | None = None,
    seed: int | None = None,
    device: torch.device | str | None = None,
    resume: bool = False,
) -> Path:
    """Train a config as ``natx train`` does, its adversaries first: ``natx.load(natx.train("cls/digits_nat"))``.

    Args:
        config: a config's file, the name of a shipped one, or what :func:`natx.config.load_config` made of it.
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
    shipped = config if isinstance(config, Config) else load_config(config)
    changes = {**(options or {}), **({} if seed is None else {"seed": seed})}
    copy = Config(plain_dict(shipped), filename=shipped.filename)
    loaded = with_options(copy, changes, kind=TRAINING)
    folder = run_folder(loaded, usual_seed=shipped.seed) if work_dir is None else Path(work_dir)
    return run_training(loaded, folder, device=pick_device(device), resume=resume)
