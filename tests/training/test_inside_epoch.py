"""A run that is stopped inside an epoch goes on bit for bit: batches, generators, gradients, averages and log lines."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import equal, run, tiny_config

from natx.errors import CheckpointError, ConfigError, Stopped
from natx.runtime.progress import seconds
from natx.runtime.stop import SIGNALS, stop_requests
from natx.training.hooks import ProgressHook

LINF = {"type": "Linf", "eps": 0.1}
PGD = {"type": "PGD", "threat": LINF, "steps": 2, "step_size": 0.05}
ADVERSARIAL = {"type": "Adversarial", "views": ("clean", "adv"), "attack": PGD}
SGD = {"type": "SGD", "lr": 0.05, "momentum": 0.9}
RUNS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "adversarial": (ADVERSARIAL, {}),
    "average of the weights": (ADVERSARIAL, {"ema": {"decay": 0.9, "warmup": 0.3}}),
    # Four steps an epoch: gradients wait for their update where the run stops, and at the end of an epoch.
    "accumulated gradients": (ADVERSARIAL, {"optim_wrapper": {"accumulative_counts": 3, "optimizer": SGD}}),
    "clipped gradients": (ADVERSARIAL, {"optim_wrapper": {"clip_grad": {"max_norm": 0.5}, "optimizer": SGD}}),
    "schedules by iteration": (
        ADVERSARIAL,
        {
            "param_scheduler": [
                {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "begin": 0, "end": 5},
                {"type": "CosineAnnealingLR", "T_max": 7, "by_epoch": False, "begin": 5, "end": 12},
            ]
        },
    ),
    "one cycle": (
        ADVERSARIAL,
        {"param_scheduler": [{"type": "OneCycleLR", "eta_max": 0.1, "total_steps": 12, "by_epoch": False}]},
    ),
    "steps": (ADVERSARIAL, {"param_scheduler": [{"type": "MultiStepLR", "milestones": [1, 2], "by_epoch": True}]}),
    "a round of replays": ({"type": "FreeAdversarial", "attack": PGD, "replays": 2}, {}),
    "the perturbation of free training": ({"type": "FreeTraining", "threat": LINF, "replays": 2}, {}),
    "average of moved weights": ({"type": "AWP", "method": ADVERSARIAL}, {"ema": {"decay": 0.9, "warmup": 0.0}}),
    "moved weights": ({"type": "AWP", "method": ADVERSARIAL, "gamma": 0.01, "warmup": 0}, {}),
}


def stopped(config: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, *, at: tuple[int, int]) -> str:
    """Train until a signal comes during an iteration (epoch and number from 0); what the error says."""
    count = ProgressHook.after_train_iter

    def after_train_iter(self: Any, runner: Any, batch_idx: int, *rest: Any, **named: Any) -> None:
        count(self, runner, batch_idx, *rest, **named)
        if (runner.epoch, batch_idx) == at:
            os.kill(os.getpid(), signal.SIGUSR1)

    with monkeypatch.context() as patch:
        patch.setattr(ProgressHook, "after_train_iter", after_train_iter)
        with pytest.raises(Stopped) as error:
            run(config, folder)
    return str(error.value)


def logged(folder: Path) -> list[dict[str, Any]]:
    """The lines of the log of all processes that trained in a folder, without times."""
    paths = sorted(folder.glob("*/vis_data/scalars.json"))
    lines = [json.loads(line) for path in paths for line in path.read_text().splitlines()]
    return [{k: v for k, v in line.items() if "time" not in k and k not in ("memory", "cpu_seconds")} for line in lines]


@pytest.mark.parametrize("name", RUNS)
def test_a_stopped_run_ends_as_one_that_was_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    method, changes = RUNS[name]
    config = tiny_config(method, **{"vis_backends": [{"type": "LocalVisBackend"}], "log_interval": 1, **changes})
    whole = run(config, tmp_path / "whole")
    text = stopped(config, tmp_path / "stopped", monkeypatch, at=(1, 2))
    assert "SIGUSR1 in epoch 2 after iteration 3" in text and "--resume" in text
    inside = torch.load(tmp_path / "stopped" / "last.pth", weights_only=True)["meta"]
    steps = whole["meta"]["iter"] // 3  # an epoch's
    assert (inside["epoch"], inside["batches"], inside["iter"]) == (1, 3, steps + 3)
    resumed = run(config, tmp_path / "stopped", resume=True)
    assert resumed.keys() == whole.keys()
    for part in whole:
        if part == "logs":  # the times differ
            resumed[part], whole[part] = (
                {k: v for k, v in x[part].items() if "time" not in k and "cpu_seconds" not in k}
                for x in (resumed, whole)
            )
        assert equal(resumed[part], whole[part]), part
    assert logged(tmp_path / "stopped") == logged(tmp_path / "whole")


def test_a_stop_after_the_last_iteration_of_an_epoch_is_scored_when_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(ADVERSARIAL)
    whole = run(config, tmp_path / "whole")
    stopped(config, tmp_path / "stopped", monkeypatch, at=(0, 3))
    assert not (tmp_path / "stopped" / "best.safetensors").exists()
    resumed = run(config, tmp_path / "stopped", resume=True)
    assert equal(resumed["weights"], whole["weights"]) and equal(resumed["schedulers"], whole["schedulers"])
    assert resumed["best"] == whole["best"]


def test_a_state_is_written_every_so_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Time is pretended: each iteration takes three minutes, and an epoch has four."""
    times: list[tuple[int, int]] = []
    clock = [0.0]
    count = ProgressHook.after_train_iter

    def after_train_iter(self: Any, *args: Any, **named: Any) -> None:
        clock[0] += 180
        count(self, *args, **named)

    def save(path: Path, state: dict[str, Any]) -> None:
        times.append((state["meta"]["epoch"], state["meta"]["batches"]))

    monkeypatch.setattr(ProgressHook, "after_train_iter", after_train_iter)
    monkeypatch.setattr("natx.training.hooks.checkpoints.time.monotonic", lambda: clock[0])
    monkeypatch.setattr("natx.training.hooks.checkpoints.save_state", save)
    with pytest.raises(FileNotFoundError):  # nothing is really written
        run(tiny_config(ADVERSARIAL, checkpoint_every="6min", train_cfg={"max_epochs": 2}), tmp_path / "run")
    assert times == [(0, 2), (0, 4), (1, 0), (1, 2), (1, 4), (2, 0)]  # also before an epoch is scored
    times.clear()
    with pytest.raises(FileNotFoundError):
        run(tiny_config(ADVERSARIAL, checkpoint_every=None, train_cfg={"max_epochs": 2}), tmp_path / "never")
    assert times == [(1, 0), (2, 0)]


def test_weights_that_are_no_numbers_are_not_written_inside_an_epoch_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config({"type": "Standard"}, checkpoint_every=0.0001)
    monkeypatch.setattr("natx.training.hooks.checkpoints.state.finite", lambda module: False)
    with pytest.raises(
        CheckpointError, match="not finite after epoch 1, iteration 1: the checkpoint before it is kept"
    ):
        run(config, tmp_path / "run")
    assert not (tmp_path / "run" / "last.pth").exists()


def test_a_signal_before_the_first_iteration_stops_at_once_and_handlers_are_put_back(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with pytest.raises(Stopped, match="SIGTERM"), stop_requests():
        os.kill(os.getpid(), signal.SIGTERM)
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_a_signal_that_came_too_late_for_a_part_of_the_work_stops_the_whole() -> None:
    """An adversary's last epoch, a row's of a study: what comes next would run into the scheduler's end."""
    with pytest.raises(Stopped, match="SIGTERM"), stop_requests():
        with stop_requests() as part:
            part.deferred = True
            os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("never reached")


@pytest.mark.parametrize("stop", [(0, 3), (0, 1)], ids=["at the end of an epoch", "inside an epoch"])
def test_loading_processes_change_nothing_in_a_run_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: tuple[int, int]
) -> None:
    """The network draws (dropout) from the generator that a loader with processes takes their seed from."""
    config = tiny_config({"type": "Standard"}, train_cfg={"max_epochs": 2})
    whole = run(config, tmp_path / "whole")
    config.data.num_workers = 1
    stopped(config, tmp_path / "stopped", monkeypatch, at=stop)
    resumed = run(config, tmp_path / "stopped", resume=True)
    assert equal(resumed["weights"], whole["weights"]) and equal(resumed["optimizer"], whole["optimizer"])


def test_a_run_of_another_device_goes_on_inside_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config({"type": "Standard"}, train_cfg={"max_epochs": 1})
    stopped(config, tmp_path / "run", monkeypatch, at=(0, 1))
    saved = torch.load(tmp_path / "run" / "last.pth", weights_only=True)
    saved["processes"][0]["generators"]["cuda"] = torch.zeros(16, dtype=torch.uint8)
    torch.save(saved, tmp_path / "run" / "last.pth")
    assert run(config, tmp_path / "run", resume=True)["meta"]["epoch"] == 1


def test_a_signal_that_waits_is_kept_and_can_be_let_through() -> None:
    with stop_requests() as stop:
        stop.deferred = True
        os.kill(os.getpid(), signal.SIGUSR1)
        assert stop.signal == "SIGUSR1"
        with pytest.raises(Stopped), stop.at_once():
            raise AssertionError("never reached")
        assert stop.deferred


@pytest.mark.parametrize(
    ("text", "value"), [("10min", 600), ("30s", 30), ("2h", 7200), (90, 90), ("1.5 h", 5400), (None, None), (0, None)]
)
def test_durations(text: Any, value: float | None) -> None:
    assert seconds(text, name="checkpoint_every") == value


@pytest.mark.parametrize("text", ["ten", "10 days", -3, True, [1]])
def test_what_is_no_duration_is_one_line(text: Any) -> None:
    with pytest.raises(ConfigError, match="checkpoint_every is a duration such as"):
        seconds(text, name="checkpoint_every")


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"seed": 4}, ["seed (3 there, 4 here)"]),
        ({"optim_wrapper": {"optimizer": {**SGD, "lr": 0.06}}}, ["optim_wrapper.optimizer.lr (0.05 there, 0.06 here)"]),
        ({"ema": {"decay": 0.9}}, ["ema (absent there"]),
    ],
)
def test_a_refused_resume_names_what_differs_and_leaves_nothing_behind(
    tmp_path: Path, changes: dict[str, Any], parts: list[str]
) -> None:
    run(tiny_config({"type": "Standard"}), tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(CheckpointError) as error:
        run(tiny_config({"type": "Standard"}, **changes), tmp_path / "run", resume=True)
    assert all(part in str(error.value) for part in parts), error.value
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_a_resume_without_the_best_weights_is_refused(tmp_path: Path) -> None:
    """As where last.pth alone was copied: where no later epoch is better, the run would end without any."""
    config = tiny_config({"type": "Standard"}, train_cfg={"max_epochs": 1})
    run(config, tmp_path / "run")
    (tmp_path / "run" / "best.safetensors").unlink()
    with pytest.raises(CheckpointError, match="run lacks best.safetensors beside last.pth"):
        run(config, tmp_path / "run", resume=True)


def test_a_finished_run_stays_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gone on with elsewhere it says where it was trained; without its state, deleted for the space, it is kept."""
    config, folder = tiny_config({"type": "Standard"}, train_cfg={"max_epochs": 1}), tmp_path / "run"
    run(config, folder)
    before = {name: (folder / name).read_bytes() for name in ("done.json", "best.safetensors")}
    monkeypatch.setattr("natx.training.run.provenance", lambda device: {"device": "another"})
    run(config, folder, resume=True)
    (folder / "last.pth").unlink()
    for resume in (True, False):
        with pytest.raises(ConfigError, match="a finished run without its last.pth, whose weights would be lost"):
            run(config, folder, resume=resume)
    assert {name: (folder / name).read_bytes() for name in before} == before


def test_a_resume_on_another_number_of_processes_is_refused(tmp_path: Path) -> None:
    run(tiny_config({"type": "Standard"}), tmp_path / "run")
    saved = torch.load(tmp_path / "run" / "last.pth", weights_only=True)
    saved["meta"]["world_size"] = 2
    torch.save(saved, tmp_path / "run" / "last.pth")
    with pytest.raises(CheckpointError, match=r"written by 2 process\(es\) and is resumed by 1"):
        run(tiny_config({"type": "Standard"}), tmp_path / "run", resume=True)
