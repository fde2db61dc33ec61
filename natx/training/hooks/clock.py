"""What a step takes of the processor, where the processor does the computing."""

from __future__ import annotations

import time
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from natx.registry import HOOKS


@HOOKS.register_module()
class ProcessorTime(Hook):
    """Logs ``cpu_seconds`` on a CPU: the process' processor time of a step, the mean since the last line of the log.

    On a machine that does other things too, wall time says little about what a training takes; this does. It counts
    all threads of the process, and not those of the processes that load images.

    Args:
        interval: iterations between two lines of the log.
    """

    def __init__(self, interval: int) -> None:
        self.interval = interval
        self._spent, self._steps = 0.0, 0
        self._last = 0.0

    def before_train_epoch(self, runner: Runner) -> None:
        """Start the clock: what lies between epochs (choosing and writing the checkpoint) does not count."""
        self._last = time.process_time()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Count the step; log where a line is written."""
        now = time.process_time()
        self._spent, self._steps, self._last = self._spent + now - self._last, self._steps + 1, now
        if self.every_n_inner_iters(batch_idx, self.interval):
            runner.message_hub.update_scalar("train/cpu_seconds", self._spent / self._steps)
            self._spent, self._steps = 0.0, 0
