"""What training logs is read from the device in one go, and is what mmengine would have logged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.hooks import RuntimeInfoHook
from mmengine.logging import MessageHub
from tiny_runs import tiny_config
from torch.nn.utils import clip_grad_norm_

from natx.training.build import build_runner
from natx.training.hooks import LogValues, ProcessorTime


def logged(folder: Path, monkeypatch: pytest.MonkeyPatch, *, lazy: bool, **changes: Any) -> dict[str, list[float]]:
    """Every value that a run hands to its log, by name; ``lazy`` or as mmengine does."""
    histories: dict[str, list[float]] = {}
    update = MessageHub.update_scalar

    def spy(self: MessageHub, key: str, value: Any, count: int = 1, resumed: bool = True) -> None:
        histories.setdefault(key, []).append(float(value))
        update(self, key, value, count, resumed)

    with monkeypatch.context() as patch:
        patch.setattr(MessageHub, "update_scalar", spy)
        if not lazy:
            for name in ("before_train", "before_train_iter", "after_train_iter", "after_train_epoch"):
                patch.setattr(LogValues, name, getattr(RuntimeInfoHook, name))
        runner = build_runner(tiny_config({"type": "Standard"}, **changes), folder, device=torch.device("cpu"))
        runner.train()
    return {key: values for key, values in histories.items() if "time" not in key and "cpu" not in key}


def test_runs_of_one_second_do_not_share_their_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """mmengine names what it logs with by the run's name and the second: the same config once more is another run."""
    monkeypatch.setattr("mmengine.runner.runner.time.strftime", lambda *_: "20260101_000000")
    config = tiny_config({"type": "Standard"}, vis_backends=[{"type": "LocalVisBackend"}])
    folders = [tmp_path / name / "run" for name in ("first", "second")]
    runners = [build_runner(config, folder, device=torch.device("cpu")) for folder in folders]
    for folder, runner in zip(folders, runners):
        runner.visualizer.add_scalars({"loss": 1.0}, step=1)
        assert [path.is_relative_to(folder) for path in folder.rglob("scalars.json")] == [True]
    assert runners[0].message_hub is not runners[1].message_hub


@pytest.mark.parametrize("interval", [1, 3, 50])  # of four iterations an epoch
def test_every_value_is_logged_in_its_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interval: int) -> None:
    clipped = {
        "type": "OptimWrapper",
        "optimizer": {"type": "SGD", "lr": 0.05},
        "clip_grad": {"max_norm": 1.0},
    }
    runs = [
        logged(tmp_path / str(lazy), monkeypatch, lazy=lazy, log_interval=interval, optim_wrapper=clipped)
        for lazy in (True, False)
    ]
    lines = {n for n in range(12) if (n % 4 + 1) % interval == 0 or n % 4 == 3}  # iterations that a line shows
    for name, values in runs[1].items():
        shown = name.startswith(("train/acc", "train/entropy", "train/top2"))
        assert runs[0][name] == ([value for n, value in enumerate(values) if n in lines] if shown else values), name
    assert runs[0].keys() == runs[1].keys()
    assert len(runs[0]["train/loss"]) == len(runs[0]["train/grad_norm"]) == 12


def test_gradients_are_clipped_as_before(tmp_path: Path) -> None:
    parameter = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    parameter.grad = torch.tensor([30.0, 40.0])
    hook = LogValues(1)
    assert hook._clipping(clip_grad_norm_, name="train/grad_norm")([parameter], max_norm=1.0) is None
    assert torch.allclose(parameter.grad, torch.tensor([0.6, 0.8]))
    assert [(name, float(value)) for name, value in hook.pending] == [("train/grad_norm", 50.0)]


def test_a_long_interval_hands_over_what_its_line_looks_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """mmengine smooths over the last ten values: the line of forty iterations needs no others."""
    data = {
        "train": {"type": "TinyDataset", "num_classes": 5, "count": 40},
        "batch_size": 1,
    }
    runs = [
        logged(tmp_path / str(lazy), monkeypatch, lazy=lazy, data=data, log_interval=40, train_cfg={"max_epochs": 1})
        for lazy in (True, False)
    ]
    assert len(runs[0]["train/loss"]) == 10 and runs[0]["train/loss"] == runs[1]["train/loss"][-10:]


def test_the_processors_time_is_the_mean_since_the_last_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, 1.0, 3.0, 100.0, 104.0, 105.0])  # two epochs of two steps, with time between them
    monkeypatch.setattr("natx.training.hooks.clock.time.process_time", lambda: next(ticks))
    hook, logs = ProcessorTime(2), []
    runner: Any = type(
        "R", (), {"message_hub": type("H", (), {"update_scalar": lambda _, *entry: logs.append(entry)})()}
    )
    for _ in range(2):
        hook.before_train_epoch(runner)
        for batch in range(2):
            hook.after_train_iter(runner, batch)
    assert logs == [("train/cpu_seconds", 1.5), ("train/cpu_seconds", 2.5)]
