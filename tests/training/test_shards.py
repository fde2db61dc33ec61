"""Two processes that share out the optimiser's memory train as two that each have all of it, and as one process."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from forks import run_pair
from mmengine.config import Config
from tiny_runs import equal, run, tiny_config

from natx.errors import Stopped
from natx.models.checkpoint import save_state
from natx.training.build import build_runner
from natx.training.hooks import ProgressHook, checkpoints
from natx.training.run import train

CPU = torch.device("cpu")
PGD = {"type": "PGD", "threat": {"type": "Linf", "eps": 0.1}, "steps": 2, "step_size": 0.05}
ADVERSARIAL = {"type": "Adversarial", "views": ("clean", "adv"), "attack": PGD}
ADAM = {"optimizer": {"type": "AdamW", "lr": 0.01, "weight_decay": 0.1}}
PARAMWISE = {"paramwise_cfg": {"norm_decay_mult": 0.0}, "clip_grad": {"max_norm": 0.5}, "accumulative_counts": 2}
RUNS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "momentum": (ADVERSARIAL, {}),
    "averaged, groups of parameters, clipped, accumulated": (
        ADVERSARIAL,
        {"ema": {"decay": 0.9, "warmup": 0.1}, "optim_wrapper": {**ADAM, **PARAMWISE}},
    ),
    "moved weights": ({"type": "AWP", "method": ADVERSARIAL, "gamma": 0.05}, {}),
}
EXACT = {"batch_norm": False, "dropout": 0.0, "double": True}  # only the splitting of the batch differs


def config(name: str, **changes: Any) -> Config:
    method, own = RUNS[name]
    return tiny_config(method, **{"train_cfg": {"max_epochs": 2}, **own, **changes})


def exact(**changes: Any) -> Config:
    """AdamW on a net and images where the parts of a batch add up to it."""
    images = {"type": "TinyDataset", "num_classes": 5, "count": 48}
    data = {"train": images, "heldout": 0, "batch_size": 12}
    task = {"type": "TinyCNNTask", "num_classes": 5, **EXACT}
    return config("momentum", data=data, task=task, optim_wrapper=ADAM, **changes)


def stopped(settings: Config, folder: Path) -> None:
    """Train until a signal comes in the second epoch; no process may wait for one that has stopped.

    None may end before the state is written either: the first one would be ended with it.
    """

    class Stop:
        signal, deferred = "SIGTERM", False

    count = ProgressHook.after_train_iter

    def after_train_iter(self: Any, runner: Any, batch_idx: int, *rest: Any, **named: Any) -> None:
        count(self, runner, batch_idx, *rest, **named)
        if (runner.epoch, batch_idx) == (1, 1):
            runner.stop = Stop()

    def slowly(path: Path, content: dict[str, Any]) -> None:
        time.sleep(0.3)
        save_state(path, content)

    ProgressHook.after_train_iter = after_train_iter  # type: ignore[method-assign]
    checkpoints.save_state = slowly
    try:
        with pytest.raises(Stopped):
            train(settings, folder, device=CPU)
        assert state(folder)["meta"]["batches"] > 0
    finally:
        ProgressHook.after_train_iter = count  # type: ignore[method-assign]
        checkpoints.save_state = save_state


def memory(folder: Path, *, sharded: bool) -> int:
    """Bytes that the optimiser of this process holds after an epoch of AdamW."""
    settings = exact(launcher="pytorch", shard_optimizer=sharded)
    runner = build_runner(settings, folder / f"memory-{sharded}", device=CPU)
    runner.train()
    optimizer = runner.optim_wrapper.optimizer
    if sharded:
        assert not optimizer.state
        assert not optimizer._all_state_dicts
        return optimizer.share()
    return sum(value.nbytes for kept in optimizer.state.values() for value in kept.values())


def work(folder: Path, rank: int) -> None:
    """What each of the two processes trains."""
    for name in RUNS:
        for sharded in (False, True):
            run(config(name, launcher="pytorch", shard_optimizer=sharded), folder / f"{name}-{sharded}")
    halves = exact(launcher="pytorch", shard_optimizer=True)
    halves.data.batch_size = 6
    run(halves, folder / "halves")
    (folder / f"memory{rank}.json").write_text(json.dumps([memory(folder, sharded=s) for s in (False, True)]))
    for first, then in ((True, True), (True, False), (False, True)):
        place = folder / f"resumed-{first}-{then}"
        stopped(config("momentum", launcher="pytorch", shard_optimizer=first), place)
        run(config("momentum", launcher="pytorch", shard_optimizer=then), place, resume=True)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which two processes trained."""
    folder = tmp_path_factory.mktemp("pair")
    run_pair(work, folder)
    return folder


def state(folder: Path) -> dict[str, Any]:
    """What a run wrote, but for the averages of its log."""
    written = torch.load(folder / "last.pth", weights_only=True)
    return {name: part for name, part in written.items() if name not in ("logs", "settings")}


@pytest.mark.parametrize("name", RUNS)
def test_a_sharded_run_ends_as_one_that_is_not(pair: Path, name: str) -> None:
    """Weights, their average and the optimiser's whole memory."""
    whole, sharded = (state(pair / f"{name}-{shared}") for shared in (False, True))
    assert len(whole["optimizer"]["state"]) >= 6
    assert equal(sharded, whole)


def test_two_halves_of_the_batches_train_as_one_process(pair: Path, tmp_path: Path) -> None:
    alone = run(exact(shard_optimizer=True), tmp_path / "alone")  # one process: all of the memory is its own
    halves = state(pair / "halves")
    assert alone["meta"]["iter"] == halves["meta"]["iter"] == 8
    for key, value in alone["weights"].items():
        torch.testing.assert_close(halves["weights"][key], value, rtol=0, atol=1e-9, msg=key)
    for index, kept in alone["optimizer"]["state"].items():
        for name, value in kept.items():
            torch.testing.assert_close(halves["optimizer"]["state"][index][name], value, rtol=0, atol=1e-9)


def test_each_process_keeps_its_share_of_the_memory(pair: Path) -> None:
    """Whole tensors are dealt out, so shares of a net with few of them are not quite halves."""
    whole, shares = zip(*(json.loads((pair / f"memory{rank}.json").read_text()) for rank in range(2)))
    assert whole[0] == whole[1] == sum(shares)
    assert max(shares) <= 0.65 * whole[0]


@pytest.mark.parametrize(("first", "then"), [(True, True), (True, False), (False, True)])
def test_a_stopped_run_goes_on_sharded_or_not(pair: Path, first: bool, then: bool) -> None:
    assert equal(state(pair / f"resumed-{first}-{then}"), state(pair / "momentum-True"))
