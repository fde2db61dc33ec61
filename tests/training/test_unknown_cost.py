"""An attack that does not say what it costs is unknown in every plan, and never nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from workshop import PGD, Workshop

from natx.attacks import Attack, Victim, counted
from natx.attacks.base import build_attack
from natx.registry import ATTACKS
from natx.runtime.progress import amount, duration
from natx.training.plan import describe_plan
from natx.training.selection import Selection


class Silent(Attack):
    """An attack that says nothing of its cost."""

    def run(self, victim: Victim, *, epoch: int = 0) -> Tensor:
        return victim.x


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    ATTACKS.register_module(module=Silent)
    yield
    ATTACKS.module_dict.pop("Silent")


def test_unknown_is_neither_nothing_nor_lost_in_a_sum() -> None:
    silent = build_attack({"type": "Silent", "threat": PGD["threat"]})
    assert all(map(math.isnan, counted(silent)))
    assert counted(build_attack({**PGD, "steps": 3})) == (3, 3)
    assert math.isnan(Selection([0] * 10, "images", attack=silent).cost())
    assert (amount(math.nan), amount(2.0), amount(1234.0, ",.0f")) == ("unknown", "2", "1,234")
    assert duration(math.nan) == "unknown"


@pytest.mark.parametrize("around", [None, "AWP"])
def test_a_training_plan_says_so(shop: Workshop, around: str | None) -> None:
    method = {"type": "Adversarial", "attack": {"type": "Silent", "threat": PGD["threat"]}}
    config = shop.load(method=method if around is None else {"type": around, "method": method})
    plan = "\n".join(describe_plan(config, Path("run"), device=torch.device("cpu"), timing=False))
    assert "cost: unknown forwards and unknown backwards per image and step" in plan
    assert "= unknown forwards and unknown backwards of one image" in plan
