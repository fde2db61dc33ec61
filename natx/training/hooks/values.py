"""What a training step logs, kept on the device until it is needed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import torch
from mmengine.hooks import RuntimeInfoHook
from mmengine.runner import Runner
from torch import Tensor

from natx.methods import Method
from natx.registry import HOOKS
from natx.training.learner import learner_of


@HOOKS.register_module()
class LogValues(RuntimeInfoHook):
    """mmengine's hook that hands a step's values to the log, without a wait for the device for each of them.

    Values stay tensors until the log is written or the epoch ends; then those that a line of the log looks at are read
    at once, in their order, so what is logged is the same. That goes for the norm of clipped gradients too.

    Args:
        interval: iterations between two lines of the log.
    """

    def __init__(self, interval: int) -> None:
        self.interval = interval
        self.pending: list[tuple[str, Tensor]] = []
        self._methods: list[Method] = []

    def before_train(self, runner: Runner) -> None:
        """See mmengine; takes the norm of clipped gradients before mmengine reads it."""
        super().before_train(runner)
        wrapper = runner.optim_wrapper
        if getattr(wrapper, "clip_grad_kwargs", None):
            wrapper.clip_func = self._clipping(wrapper.clip_func, name=f"train/{wrapper.grad_name}")

    def before_train_epoch(self, runner: Runner) -> None:
        """See mmengine; the method may be another than in the epoch before."""
        super().before_train_epoch(runner)
        self._methods = [part for part in learner_of(runner).method.modules() if isinstance(part, Method)]

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """See mmengine; tells the method whether a line of the log will show this step."""
        super().before_train_iter(runner, batch_idx, data_batch)
        last = batch_idx + 1 == len(runner.train_dataloader)
        for method in self._methods:
            method.watched = last or self.every_n_inner_iters(batch_idx, self.interval)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Keep the values; read them where the log is written."""
        for name, value in (outputs or {}).items():
            self.pending.append((f"train/{name}", value.detach()))
        if self.every_n_inner_iters(batch_idx, self.interval):
            self.read(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Read what came after the last line of the log."""
        self.read(runner)

    def read(self, runner: Runner) -> None:
        """Hand over what a line of the log looks at, the last values of each name: one wait for the device.

        mmengine's history copies itself whenever a value is added, so what no line looks at is left out.
        """
        if not self.pending:
            return
        latest: dict[str, deque[Tensor]] = {}
        for name, value in self.pending:
            latest.setdefault(name, deque(maxlen=runner.log_processor.window_size)).append(value)
        self.pending = []
        names = [name for name, values in latest.items() for _ in values]
        flat = [value.reshape(1) for values in latest.values() for value in values]
        for name, value in zip(names, torch.cat(flat).tolist()):
            runner.message_hub.update_scalar(name, value)

    def _clipping(self, clip: Callable[..., Tensor | None], *, name: str) -> Callable[..., None]:
        """The same clipping of gradients, its norm kept here."""

        def clipped(*args: Any, **kwargs: Any) -> None:
            norm = clip(*args, **kwargs)
            if norm is not None:  # clipped by value
                self.pending.append((name, norm.detach()))

        return clipped
