"""The state of every schedule of mmengine is written as plain values, and a schedule goes on from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mmengine.optim  # noqa: F401  fills the registry
import pytest
import torch
from mmengine.registry import PARAM_SCHEDULERS
from torch import nn

from natx.models.checkpoint import load_state, save_state
from natx.training.state import schedule_state

ARGUMENTS: dict[str, dict[str, Any]] = {
    "Constant": {"factor": 0.5, "end": 4},
    "CosineAnnealing": {"T_max": 8},
    "CosineRestart": {"periods": [4, 6], "restart_weights": [1, 0.5], "eta_min": 0.0},
    "Exponential": {"gamma": 0.7},
    "Linear": {"start_factor": 0.1, "end": 6},
    "MultiStep": {"milestones": [2, 5]},
    "OneCycle": {"eta_max": 0.3, "total_steps": 10},
    "Poly": {"power": 2, "end": 8},
    "ReduceOnPlateau": {"monitor": "loss", "patience": 1, "threshold": 0.1},
    "Step": {"step_size": 3},
}
NAMES = sorted(name for name in PARAM_SCHEDULERS.module_dict if not name.endswith("ParamScheduler"))


def built(name: str) -> tuple[Any, Any]:
    kind = next(kind for kind in ARGUMENTS if name in (f"{kind}LR", f"{kind}Momentum"))
    optimiser = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1, momentum=0.9)
    return optimiser, PARAM_SCHEDULERS.get(name)(optimiser, **ARGUMENTS[kind])


def values(optimiser: Any, scheduler: Any, count: int) -> list[tuple[float, float]]:
    """Rate and momentum after each of some steps; the loss stays where it is."""
    taken = []
    for _ in range(count):
        optimiser.step()
        scheduler.step({"loss": 1.0}) if hasattr(scheduler, "monitor") else scheduler.step()
        group = optimiser.param_groups[0]
        taken.append((group["lr"], group["momentum"]))
    return taken


def test_all_of_mmengines_schedules_are_here() -> None:
    assert set(NAMES) == {f"{kind}{what}" for kind in ARGUMENTS for what in ("LR", "Momentum")} - {"OneCycleMomentum"}


@pytest.mark.parametrize("name", NAMES)
def test_a_schedule_goes_on_from_its_file(name: str, tmp_path: Path) -> None:
    optimiser, whole = built(name)
    expected = values(optimiser, whole, 9)
    optimiser, first = built(name)
    before = values(optimiser, first, 4)
    save_state(tmp_path / "state.pth", {"schedule": schedule_state(first), "optimizer": optimiser.state_dict()})
    state = load_state(tmp_path / "state.pth")
    optimiser, second = built(name)
    optimiser.load_state_dict(state["optimizer"])
    second.load_state_dict(state["schedule"])
    assert before + values(optimiser, second, 5) == expected
    assert len(set(expected)) > 1  # something is scheduled
