"""What a training step takes beside a bare loop on the same network: hooks, logs, checks, the loader."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.nn import functional as F

from natx.benchmark import Measured, Paired
from natx.config import load_config, with_options
from natx.training.build import build_runner
from natx.training.learner import learner_of
from natx_bench.common import SECONDS, Bench, item

CONFIG, EPOCHS, ALLOWED = "configs/cls/digits_vt.py", 4, 0.5  # epochs a repeat; milliseconds a step


class StepTimes(Hook):
    """The time from the end of a step to the end of the next one of its epoch."""

    priority = "LOWEST"

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock, self.seconds = clock, list[float]()
        self._last: float | None = None

    def before_train_epoch(self, runner: Runner) -> None:
        """The first step of an epoch begins before anything can be measured."""
        self._last = None

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Note the step's time."""
        if self._last is not None:
            self.seconds.append(self.clock() - self._last)
        self._last = self.clock()


def build(bench: Bench, folder: Path) -> Runner:
    """The training of a small network on the digits, as ``tools/train.py`` builds it."""
    options = {"train_cfg.max_epochs": EPOCHS, "data.heldout": 0}
    return build_runner(with_options(load_config(CONFIG), options), folder, device=bench.device)


def clock(bench: Bench) -> Callable[[], float]:
    """The processor's on a CPU: on a busy machine wall time says little."""
    return time.process_time if bench.device.type == "cpu" else time.perf_counter


def natx_step(bench: Bench) -> float:
    """Milliseconds of a step in a training, see :func:`quick`."""
    times = StepTimes(clock(bench))
    with tempfile.TemporaryDirectory() as folder:
        runner = build(bench, Path(folder))
        runner.register_hook(times)
        runner.train()
    return quick(times.seconds)


def quick(seconds: Sequence[float]) -> float:
    """The first decile, in milliseconds: slower steps are those that something else on the machine held up."""
    return 1000 * statistics.quantiles(seconds, n=10)[0]


def bare_step(bench: Bench) -> float:
    """Milliseconds of a step of a loop that does nothing else on the same network, images and optimiser."""
    now, seconds = clock(bench), list[float]()
    with tempfile.TemporaryDirectory() as folder:
        runner = build(bench, Path(folder))
        runner.build_everything()
        task, optimizer = learner_of(runner).task.train(), runner.optim_wrapper.optimizer
        net, mean, std = task.upstream, task.get_buffer("mean"), task.get_buffer("std")
        last = now()
        for _ in range(EPOCHS):
            for batch in runner.train_dataloader:
                x = batch["inputs"].to(bench.device).float().div_(255 if batch["inputs"].dtype == torch.uint8 else 1)
                loss = F.cross_entropy(net((x - mean) / std), batch["data_samples"].to(bench.device))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                seconds.append(now() - last)
                last = now()
    return quick(seconds)


@item(
    "step_overhead",
    a="what a vanilla training step takes above a bare loop's on the same network (digits)",
    b=f"the {ALLOWED:g} ms that it may take",
    limit=1.0,
    unit="ms",
    setting=dict(model="small_cnn", batch_size=64),
)
def step_overhead(bench: Bench) -> Measured:
    natx_step(bench), bare_step(bench)  # a warm-up
    pairs = [(natx_step(bench), bare_step(bench)) for _ in range(bench.repeats)]
    paired = Paired([ours - bare for ours, bare in pairs], [ALLOWED] * len(pairs))
    details = {
        "step of natx, ms": statistics.median(ours for ours, _ in pairs),
        "step of the bare loop, ms": statistics.median(bare for _, bare in pairs),
        "seconds": SECONDS,
    }
    return Measured(paired, details=details)
