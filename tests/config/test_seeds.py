"""The run's seed reaches everything that draws, unless a config names another."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from workshop import DIGITS, PGD, Workshop, merged

from natx.config import load_config, plain_dict, seeded
from natx.config.schema.built import Built
from natx.data import build_dataset
from natx.registry import METHODS
from natx.training.build import build_learner
from natx.training.images import build_selection

TASK = {**DIGITS["task"]}
INNER = {"type": "Adversarial", "attack": {**PGD, "steps": 1}}
DRAWING: dict[str, dict[str, Any]] = {
    "PGD": INNER,
    "friendly": {"type": "Adversarial", "attack": {"type": "FriendlyPGD", "threat": PGD["threat"], "omega": 0.01}},
    "worst of": {
        "type": "Adversarial",
        "attack": {
            "type": "WorstOf",
            "threat": PGD["threat"],
            "attacks": [{"type": "PGD", "steps": 1}, {"type": "PGD", "steps": 2}],
            "objective": {"type": "CrossEntropy"},
        },
    },
    "around another": {"type": "AWP", "method": INNER},
}


def pixels(shop: Workshop, method: dict[str, Any], seed: int) -> Tensor:
    """The adversarial pixels of the first step of a training."""
    config = shop.load(method=method, seed=seed)
    learner = build_learner(config, seed=seed)
    task = build_learner(shop.load(), seed=0).task  # the same weights for all seeds
    method = learner.method
    while hasattr(method, "method"):
        method = method.method
    batch = build_dataset(plain_dict(config.data.train)).__getitems__(range(8))
    return method.make_views(task, batch, epoch=0)[-1]


@pytest.mark.parametrize("kind", DRAWING)
def test_inner_attacks_start_from_the_runs_seed(shop: Workshop, kind: str) -> None:
    first, again, second = (pixels(shop, DRAWING[kind], seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


def test_a_seed_that_a_config_names_stays(shop: Workshop) -> None:
    named = merged(INNER, {"attack": {"seed": 5}})
    assert torch.equal(pixels(shop, named, 0), pixels(shop, named, 1))


def test_every_part_that_takes_a_seed_gets_it_and_no_other() -> None:
    method = {
        "type": "AWP",
        "method": {"type": "Adversarial", "attack": {"type": "PGD", "objective": {"type": "Margin"}}},
    }
    inner = seeded(method, 7, by=Built(METHODS))["method"]
    assert inner["attack"] == {"type": "PGD", "objective": {"type": "Margin"}, "seed": 7}
    assert "seed" not in method["method"]["attack"] and "seed" not in inner
    strategy = {"type": "LAS", "strategy": dict(TASK), "seed": 3}
    assert seeded(strategy, 7, by=Built(METHODS)) == strategy
    adversary = {"type": "Standard", "terms": [{"type": "NastyKL", "adversary": {"task": TASK, "state": "random"}}]}
    assert seeded(adversary, 7, by=Built(METHODS)) == adversary


def test_held_out_images_follow_the_seed_where_they_are_asked_to(shop: Workshop) -> None:
    def held(**changes: Any) -> list[int]:
        config = shop.load(**changes)
        _, selection = build_selection(config, build_dataset(plain_dict(config.data.train)))
        return sorted(selection.dataset.__getitems__(range(20))["index"].tolist())

    assert held(seed=0) == held(seed=1)
    assert held(seed=0, heldout_seed="run") == held(seed=0)
    assert held(seed=1, heldout_seed="run") != held(seed=0)
    assert held(seed=1, heldout_seed="run") == held(heldout_seed=1)


def test_the_choosing_attack_starts_from_the_runs_seed(shop: Workshop) -> None:
    for seed in (0, 4):
        config = shop.load(seed=seed, select={"attack": {"type": "PGD", "steps": 1}})
        _, selection = build_selection(config, build_dataset(plain_dict(config.data.train)))
        assert selection.attack.seed == seed


def test_another_seed_has_another_work_dir(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop.folder)
    plan = ("--dry-run", "--no-timing")
    path = shop.digits(seed=3)
    assert load_config(path).seed == 3
    for arguments, name in (
        ((), "digits"),
        (("--seed", "3"), "digits"),
        (("--seed", "1"), "digits-seed1"),
        (("--cfg-options", "seed=2"), "digits-seed2"),
        (("--seed", "1", "--work-dir", "mine"), "mine"),
    ):
        lines = shop.run("train.py", path, *plan, *arguments).out.splitlines()
        assert lines[1].endswith(name), lines[1]
    assert "seed should be greater than or equal to 0; got -1" in shop.run("train.py", path, "--seed", "-1").error()
    assert "seed should be less than 4294967296; got" in shop.run("train.py", path, "--seed", 2**32).error()
    assert "heldout_seed" in shop.run("train.py", path, "--cfg-options", f"heldout_seed={2**64}").error()
