"""Batches that are refilled give each image what it would get alone, and late steps work on full batches."""

from __future__ import annotations

import copy
import functools
from typing import Any

import pytest
import torch

from natx.attacks import FGSM, PGD, Attack, Attacked, Patch, PatchPGD, Square, Victim
from natx.errors import ConstraintError
from natx.evaluation import evaluate
from natx.evaluation.refill import refills, worthwhile
from natx.testing import TinyCNNTask, TinyDataset, fit
from natx.threat import L2, Linf, LinfBall

EPS, STEP, IMAGES = 20 / 255, 4 / 255, 60
LINF = Linf(EPS)


@pytest.fixture(autouse=True)
def as_on_an_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches are refilled here too; left alone, a CPU keeps its blocks (last test)."""
    monkeypatch.setattr("natx.evaluation.robust.worthwhile", lambda device: True)


@functools.cache
def _trained() -> TinyCNNTask:
    return fit(TinyCNNTask(seed=1), TinyDataset(40)).double()


def trained() -> TinyCNNTask:
    return copy.deepcopy(_trained())


def data(count: int = IMAGES) -> TinyDataset:
    """Some labels are wrong, and some images break sooner than others."""
    dataset = TinyDataset(count, seed=5, noise=0.25)
    dataset.labels[::9] = (dataset.labels[::9] + 1) % 5
    return dataset


CASES: dict[str, PGD] = {
    "PGD": PGD(LINF, 8, step_size=STEP, milestones=(1, 3, 8)),
    "margin": PGD(LINF, 5, step_size=STEP, objective=dict(type="Margin"), seed=7, name="C&W"),
    "prepared": PGD(LINF, 5, step_size=STEP, objective=dict(type="KL"), name="KL"),
    "no random start": PGD(LINF, 4, step_size=STEP, random_start=False),
    "normal start": PGD(LINF, 4, step_size=STEP, random_start="normal"),
    "one step": FGSM(LINF),
    "L2": PGD(L2(0.6), 5, step_size=0.15),
}


def alone(attack: PGD) -> tuple[dict[str, list[bool]], list[int]]:
    """Image by image: which are right in each column, and forwards and backwards in all."""
    dataset, task = data(), trained()
    right: dict[str, list[bool]] = {column: [] for column in ["Clean", *attack.columns()]}
    spent = [0, 0]
    for i in range(IMAGES):
        batch = dataset.__getitems__([i])
        right["Clean"].append(bool((task.predict(batch) == batch["data_samples"])[0]))
        found = attack.judge(task, batch) if right["Clean"][-1] else None
        for column in attack.columns():
            right[column].append(found is not None and not bool(found.broken[column]))
        if found is not None:
            spent = [spent[0] + found.cost.forwards, spent[1] + found.cost.backwards]
    return right, spent


@pytest.mark.parametrize("name", CASES)
def test_each_image_gets_what_it_would_get_alone(name: str) -> None:
    attack = CASES[name]
    assert refills(attack)
    right, spent = alone(attack)
    last = right[attack.columns()[-1]]
    assert 3 < sum(last) < sum(right["Clean"]) - 3  # some break and some do not
    for size in (1, 4, 13, IMAGES):
        found = evaluate(trained(), data(), [attack], batch_size=size)
        assert {column: outcome.tolist() for column, outcome in found.correct.items()} == right, size
        assert [found.attacks[1].cost.forwards, found.attacks[1].cost.backwards] == spent, size


def test_late_steps_work_on_full_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    size, sizes, dataset = 12, [], data(200)
    gradient, output = Victim.gradient, Victim.output

    def counted(victim: Victim, x: torch.Tensor, objective: Any) -> Any:
        sizes.append(len(x))
        return gradient(victim, x, objective)

    looks = []

    def looked(victim: Victim, x: torch.Tensor) -> Any:
        looks.append((len(x), x.requires_grad))
        return output(victim, x)

    monkeypatch.setattr(Victim, "gradient", counted)
    monkeypatch.setattr(Victim, "output", looked)
    attack = PGD(Linf(14 / 255), 20, step_size=STEP)
    result = evaluate(trained(), dataset, [attack], batch_size=size).attacks[1]
    refilled, ends = list(sizes), [count for count, differentiable in looks if not differentiable]
    assert sum(refilled) == result.cost.backwards
    assert max(refilled) <= size and max(ends) <= size
    assert all(count == size for count in ends[:-1])  # last iterates are looked at together
    # While images wait, at least three quarters of a batch are at work; at most the last 20 steps run out.
    assert all(count > 0.75 * size for count in refilled[:-20])
    sizes.clear()
    monkeypatch.setattr("natx.evaluation.robust.refills", lambda attack: False)
    plain = evaluate(trained(), dataset, [attack], batch_size=size).attacks[1]
    assert (plain.cost.forwards, plain.cost.backwards) == (result.cost.forwards, result.cost.backwards)
    assert len(refilled) < 0.8 * len(sizes)  # fewer and fuller steps


class Own(PGD):
    def run_judged(self, victim: Victim, *, success: Any) -> Attacked:
        return super().run_judged(victim, success=success)


@pytest.mark.parametrize(
    "attack",
    [
        PGD(LINF, 3, restarts=2),
        PGD(LINF, 3, momentum=0.5),
        PGD(LINF, 3, bn_mode="train"),
        Own(LINF, 3),
        Square(LINF),
        PGD(LINF, 3, objective=dict(type="NamedLoss", name="loss_ce")),
        PatchPGD(Patch(3), 3),
    ],
    ids=["restarts", "momentum", "bn_mode", "own loop", "library", "batch loss", "patch"],
)
def test_attacks_that_get_whole_batches(attack: Attack) -> None:
    assert not refills(attack)


def test_results_are_verified_and_modes_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    task = trained().train()
    modes = [module.training for module in task.modules()]
    with monkeypatch.context() as patch:
        patch.setattr(LinfBall, "project", lambda ball, x: x + 2 * EPS)
        with pytest.raises(ConstraintError):
            evaluate(task, data(), [PGD(LINF, 3)], batch_size=7)
    assert [module.training for module in task.modules()] == modes
    assert all(parameter.requires_grad for parameter in task.parameters())


def test_blocks_come_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []

    class Meter:
        def begin(self, name: str, total: int, **_: Any) -> None:
            told.clear()

        def advance(self, count: int) -> None:
            told.append(count)

        def end(self) -> None:
            pass

    found = evaluate(trained(), data(), [PGD(LINF, 8, step_size=STEP)], batch_size=9, meter=Meter())
    right = int(found.correct["Clean"].sum())
    assert sorted(told, reverse=True) == [9] * (right // 9) + [right % 9] * (right % 9 > 0)


def test_only_accelerators_refill() -> None:
    assert not worthwhile(torch.device("cpu"))
    assert worthwhile(torch.device("cuda", 0)) and worthwhile(torch.device("mps"))
