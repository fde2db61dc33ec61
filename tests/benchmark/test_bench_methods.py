"""The item ``methods`` of `natx bench`: what it counts, and the ratio it predicts from that."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import natx_bench
import natx_bench.methods
from natx.benchmark import run_item

ROOT = Path(__file__).resolve().parents[2]
SETTING = {"model": "m", "batch_size": 2, "threads": 1, "device": "cpu", "command": "c", "machine": {"amx": False}}
# PGD-10 and then one view: the attack in eval mode and to the pixels, the view in train mode and to the weights.
ATTACK = {("eval", "forward"): 10, ("eval", "to pixels"): 10}
VIEW = {("train", "forward"): 1, ("train", "to weights"): 1}
BY_HAND = {
    "vt": VIEW,
    "sam": {key: 2 for key in VIEW},
    "kd": {**VIEW, ("eval", "forward"): 1},
    "pgd_at": ATTACK | VIEW,
    "awp": ATTACK | {key: 2 for key in VIEW},
    "pgd_at_union": ATTACK | {key: 2 for key in VIEW},
    "nat": ATTACK | {key: 2 for key in VIEW} | {("eval", "forward"): 10 + 2},
    # TRADES whose attack keeps batch norm in train mode and compares with the clean output.
    "edm": {("train", "forward"): 1 + 10 + 2, ("train", "to pixels"): 10, ("train", "to weights"): 2},
}
STOP_EARLY = {"fat", "las_awp", "las_pgd_at"}  # announced is the most that it can be


@pytest.fixture(scope="module")
def methods() -> ModuleType:
    return natx_bench.methods


@pytest.fixture
def bench(methods: ModuleType) -> Any:
    return methods.Bench(torch.device("cpu"), "resnet8_cifar", 2, 1, 2)


def passes(methods: ModuleType, bench: Any, name: str) -> tuple[dict[tuple[str, str], float], tuple[float, float]]:
    """What a step of a config spends on an image, and what its method announces."""
    step = methods.trainer(bench, name)
    net = type(methods.trainer(bench, "vt").learner.task.net)
    batch = methods.images(bench)
    return methods.work(step, batch, (net, type(step.learner.task.net))), step.learner.method.cost()


def test_the_prediction_weighs_each_pass_by_its_seconds(methods: ModuleType) -> None:
    seconds = {("eval", "forward"): 1.0, ("eval", "to pixels"): 0.5, ("train", "forward"): 2.0}
    seconds |= {("train", "to pixels"): 99.0, ("train", "to weights"): 3.0}
    pgd_at = 10 * (1 + 0.5) + (2 + 3)
    nat = (10 + 2) * 1 + 10 * 0.5 + 2 * (2 + 3)
    assert methods.predicted_ratio(BY_HAND["nat"], BY_HAND["pgd_at"], seconds) == pytest.approx(nat / pgd_at)
    assert methods.predicted_ratio(VIEW, BY_HAND["pgd_at"], seconds) == pytest.approx(5 / pgd_at)
    assert methods.predicted_ratio(BY_HAND["pgd_at"], BY_HAND["pgd_at"], seconds) == 1


@pytest.mark.parametrize("name", BY_HAND)
def test_passes_are_counted_as_by_hand(methods: ModuleType, bench: Any, name: str) -> None:
    assert passes(methods, bench, name)[0] == BY_HAND[name]


def test_every_method_is_measured_and_spends_what_it_announces(methods: ModuleType, bench: Any) -> None:
    names = methods.names()
    shipped = {path.stem for path in (ROOT / "configs/cls").glob("r8_cifar10_*.py")}
    assert {f"r8_cifar10_{name}" for name in names} == shipped - {"r8_cifar10_nat_w0006"}
    for name in set(names) - set(BY_HAND):
        spent, (forwards, backwards) = passes(methods, bench, name)
        done = sum(count for (_, what), count in spent.items() if what == "forward")
        found = (done, sum(spent.values()) - done)
        if name in STOP_EARLY:
            assert found[0] <= forwards and found[1] <= backwards
        else:
            assert found == (forwards, backwards), name


def test_las_is_timed_with_and_without_a_lesson(methods: ModuleType, bench: Any) -> None:
    step = methods.trainer(bench, "las_pgd_at")
    las = step.learner.method
    seen = []
    las._learn = lambda *args, **kwargs: seen.append(int(las.taken))

    def value() -> float:
        before = len(seen)
        step(methods.images(bench))
        return 100.0 if len(seen) > before else 1.0

    assert methods.mean_step(step, value) == pytest.approx(100 / 20 + 19 / 20)
    assert seen == [las.interval] and las.interval == 20


def test_a_pass_goes_as_far_as_it_says(methods: ModuleType, bench: Any) -> None:
    task, batch = methods.trainer(bench, "vt").learner.task, methods.images(bench)
    for mode in methods.MODES:
        for what in (methods.FORWARD, *methods.BACKWARDS):
            net = methods.Pixels(task)
            with methods.tally((type(task.net),)) as done:
                methods.run_pass(net, batch, mode, what)
            assert done == {(mode, "forward"): 2} | ({} if what == "forward" else {(mode, what): 2})
    assert not batch["inputs"].requires_grad


def test_the_item_reports_the_method_farthest_above_its_count(
    methods: ModuleType, bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(methods, "names", lambda: ["vt", "pgd_at"])
    seconds = {"vt": 6.0, "pgd_at": 10.0}
    monkeypatch.setattr(methods, "watch", lambda bench: lambda run: (seconds_of(run), None))

    def seconds_of(run: Any) -> float:
        """A step takes what the table says; a forward of the bare network 1, with a backward 2."""
        if isinstance(run.func, methods.Trainer):
            return seconds["vt" if run.func.learner.method.views == ("clean",) else "pgd_at"]
        return 1.0 if run.args[-1] == methods.FORWARD else 2.0

    found = run_item(natx_bench.ITEMS["methods"], bench, SETTING)
    details = found["details"]
    rows = {row["config"]: row for row in details["steps"]}
    # Each pass takes 1: VT has 2 of them and PGD-AT 22.
    assert rows["r8_cifar10_vt"]["by counting"] == pytest.approx(2 / 22, abs=1e-3)
    assert rows["r8_cifar10_vt"]["/ PGD-AT"] == 0.6 and rows["r8_cifar10_pgd_at"]["/ PGD-AT"] == 1
    assert details["farthest above its count"] == "r8_cifar10_vt"
    assert found["ratio"]["median"] == pytest.approx(0.6 / (2 / 22), rel=1e-3)
    assert found["limit"] == 1.15 and found["met"] is False and found["predicted"] == 1.0
