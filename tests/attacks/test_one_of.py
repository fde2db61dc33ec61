"""OneOf: each image is attacked by one of several attacks, whatever it shares a batch with."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from natx.attacks import PGD, Attack, OneOf, build_attack
from natx.batch import Batch
from natx.errors import ConfigError
from natx.models.adversary import Adversary
from natx.testing import LinearTask
from natx.threat import Linf

LINF = Linf(0.1)
UP, DOWN = dict(type="PGD", steps=2), dict(type="PGD", steps=3, objective=dict(type="Margin"))


def task() -> LinearTask:
    return LinearTask(torch.randn(3, 12, generator=torch.Generator().manual_seed(0)).tolist()).eval()


def batch(index: list[int]) -> Batch:
    images = torch.rand(64, 1, 3, 4, generator=torch.Generator().manual_seed(1))
    rows = torch.tensor(index)
    return {"inputs": images[rows], "data_samples": rows % 3, "index": rows}


def run(attack: Attack, index: list[int], *, epoch: int = 0) -> Tensor:
    return attack(task(), batch(index), epoch=epoch)


def test_each_image_is_what_its_attack_makes_of_it() -> None:
    index = list(range(64))
    mixed = run(OneOf(LINF, [UP, DOWN], seed=4), index)
    alone = [run(PGD(LINF, one["steps"], objective=one.get("objective"), seed=4), index) for one in (UP, DOWN)]
    same = torch.stack([(mixed == one).flatten(1).all(1) for one in alone])
    assert same.any(0).all() and (same.sum(1) > 16).all()  # of 64 images with equal probability, and none as it was
    few = [40, 3, 17]
    assert torch.equal(run(OneOf(LINF, [UP, DOWN], seed=4), few), mixed[few])


def test_which_attack_it_is_says_nothing_of_where_the_other_starts() -> None:
    still = [dict(type="PGD", steps=1, step_size=0.0, random_start=start) for start in (True, False)]
    x = torch.full((2000, 1, 3, 4), 0.5)
    rows = {"inputs": x, "data_samples": torch.zeros(2000, dtype=torch.int64), "index": torch.arange(2000)}
    delta = (OneOf(LINF, still)(task(), rows) - x).flatten(1)
    started = delta[delta.any(1)]
    assert 900 < len(started) < 1100
    assert (started.mean(0).abs() < 5 * 0.1 / (3 * 900) ** 0.5).all()  # uniform from -0.1 to 0.1


def test_another_epoch_draws_another_attack() -> None:
    still = [dict(one, random_start=False) for one in (UP, DOWN)]
    first, second = (run(OneOf(LINF, still), list(range(64)), epoch=epoch) for epoch in (0, 1))
    changed = (first != second).flatten(1).any(1)
    assert 8 < int(changed.sum()) < 56


def test_it_costs_the_mean_of_its_attacks() -> None:
    costs = [build_attack(one, threat=LINF).cost_per_image() or (0, 0) for one in (UP, DOWN)]
    assert OneOf(LINF, [UP, DOWN]).cost_per_image() == tuple(sum(pair) / 2 for pair in zip(*costs))
    halved = OneOf(LINF, [UP, DOWN]).scaled(0.5)
    assert halved.threat == Linf(0.05) and all(one.threat == halved.threat for one in halved.attacks)


def test_attacks_that_do_not_share_a_threat_are_refused() -> None:
    with pytest.raises(ConfigError, match="OneOf needs at least one attack"):
        OneOf(LINF, [])
    with pytest.raises(ConfigError, match="the attacks of OneOf share its threat model"):
        OneOf(LINF, [PGD(Linf(0.2), 1)])


TRAIN, LABELLED = {"bn_mode": "train"}, dict(type="PGD", objective=dict(type="TargetedMargin"))
FROZEN = Adversary([task()])


@pytest.mark.parametrize(
    "settings",
    [
        dict(type="OneOf", attacks=[UP, {**DOWN, **TRAIN}]),
        dict(type="WorstOf", attacks=[{**UP, **TRAIN}], objective=dict(type="CrossEntropy")),
        dict(type="Targeted", attack={**LABELLED, **TRAIN}),
        dict(type="Transfer", source=FROZEN, attack={**UP, **TRAIN}),
        dict(type="Transfer", source=FROZEN, attack=UP, refine={**UP, **TRAIN}),
    ],
    ids=["one of", "worst of", "targeted", "on the source", "refined"],
)
def test_a_mode_that_an_attack_inside_would_not_run_in_is_refused(settings: dict[str, Any]) -> None:
    """The attack around them puts the network into its own mode, once."""
    with pytest.raises(ConfigError, match="bn_mode"):
        build_attack(settings, threat=LINF)


def test_the_mode_of_the_attack_around_them_is_theirs() -> None:
    attack = OneOf(LINF, [UP, {**DOWN, **TRAIN}], bn_mode="train")
    assert attack.bn_mode == attack.attacks[1].bn_mode == "train"
