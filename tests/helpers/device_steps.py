"""Training steps on the CPU and on the pretended device, side by side."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from pretended_device import Waits, counted

from natx.batch import Batch, to_device
from natx.benchmark.training import Trainer
from natx.methods.base import Setting
from natx.registry import METHODS
from natx.task import Task
from natx.training.learner import Learner

CPU = torch.device("cpu")


@dataclass
class Step:
    """What a training step's loss was on the CPU and on the device, and the waits of the latter."""

    losses: tuple[float, float]
    waits: Waits

    def agrees(self) -> bool:
        return self.losses[1] == pytest.approx(self.losses[0], rel=1e-4)


def stepped(
    method: dict[str, Any],
    device: torch.device,
    *,
    model: Callable[[], Task],
    images: Callable[[], Batch],
    steps: int = 2,
) -> Step:
    """The last of some training steps."""
    losses = []
    for place in (CPU, device):
        learner = Learner(model(), METHODS.build(copy.deepcopy(method))).to(place)
        learner.method.prepare(learner.task, place)
        learner.method.begin(Setting(images=100, epochs=2))
        trainer = Trainer(learner)
        for _ in range(steps):
            batch = to_device(images(), place)
            torch.manual_seed(0)
            with counted() as waits:
                logged = trainer(batch)
        losses.append(float(logged["loss"].detach()))
        assert all(value.device.type == place.type for value in logged.values())
    return Step((losses[0], losses[1]), waits)
