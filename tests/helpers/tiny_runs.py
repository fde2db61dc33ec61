"""Training runs of a tiny net on made-up images: whole, interrupted and resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config

import natx.testing  # noqa: F401  registers what the config names
from natx.training.hooks import LogValues
from natx.training.run import train

EPOCHS = 3


def tiny_config(method: dict[str, Any], **changes: Any) -> Config:
    """Three epochs of four steps."""
    images = {"type": "TinyDataset", "num_classes": 5}
    content = {
        "custom_imports": {"imports": ["natx.testing"]},
        "seed": 3,
        "data": {
            "train": {**images, "count": 60},
            "test": {**images, "count": 10, "seed": 1},
            "heldout": 12,
            "batch_size": 12,
        },
        "task": {"type": "TinyCNNTask", "num_classes": 5, "dropout": 0.3},
        "method": method,
        "optim_wrapper": {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.05, "momentum": 0.9}},
        "param_scheduler": [{"type": "CosineAnnealingLR", "T_max": EPOCHS, "by_epoch": True}],
        "train_cfg": {"max_epochs": EPOCHS},
        "vis_backends": [],
    }
    return Config({**content, **changes})


def run(config: Config, folder: Path, *, resume: bool = False) -> dict[str, Any]:
    """Train; the state in ``last.pth`` but for the averages of the log, which hold times."""
    train(config, folder, device=torch.device("cpu"), resume=resume)
    state = torch.load(folder / "last.pth", weights_only=True)
    return {name: part for name, part in state.items() if name != "logs"}


class Stopped(Exception):
    """Raised in the middle of an epoch."""


def interrupted(config: Config, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train until the third step of the second epoch."""

    def stop(self: Any, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if (runner.epoch, batch_idx) == (1, 2):
            raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(LogValues, "after_train_iter", stop)
        with pytest.raises(Stopped):
            run(config, folder)


def equal(first: Any, second: Any) -> bool:
    """Bit for bit, through containers."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(first[key], second[key]) for key in first)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(equal, first, second))
    return first == second
