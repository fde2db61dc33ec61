"""Progress of a training: what is left, from the first iterations on."""

from __future__ import annotations

import time
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from rich.console import Console

from natx.registry import HOOKS
from natx.runtime.progress import Meter, duration, silent


@HOOKS.register_module()
class ProgressHook(Hook):
    """A bar with the remaining time on a terminal; in a log, one line with the estimate after the first iterations.

    The regular plain lines (with their eta) are mmengine's LoggerHook's.
    """

    priority = "LOW"
    WARM_UP = 3  # the first iterations allocate memory and choose kernels

    def __init__(self) -> None:
        self.meter = silent()
        self.steps, self.start = 0, 0.0

    def before_train(self, runner: Runner) -> None:
        """Draw the bar."""
        console = Console(stderr=True)
        self.meter = Meter(console, lambda _: None, enabled=runner.rank == 0 and console.is_terminal)
        self.meter.begin("training", runner.max_iters, done=runner.iter)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Advance; after the first iterations, log the estimate."""
        self.steps += 1
        self.meter.advance(note=f"epoch {runner.epoch + 1}/{runner.max_epochs}")
        if self.steps == self.WARM_UP:
            self.start = time.monotonic()
        elif self.steps == 3 * self.WARM_UP:
            step = (time.monotonic() - self.start) / (2 * self.WARM_UP)
            count = runner.max_iters - runner.iter - 1
            runner.logger.info(f"estimated time for the remaining {count} iterations: {duration(step * count)}")

    def after_train(self, runner: Runner) -> None:
        """Remove the bar."""
        self.meter.end()
