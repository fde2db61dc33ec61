"""An exponential moving average of the weights: a second model, which is judged beside the first and saved."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from natx.errors import ConfigError
from natx.registry import HOOKS
from natx.task import Task
from natx.training.learner import learner_of


@HOOKS.register_module()
class EMA(Hook):
    """Keeps ``average <- d * average + (1 - d) * parameter`` after every step of the optimiser.

    Where gradients are accumulated (``accumulative_counts``), such a step takes several iterations. After step t = 1,
    2, ... d is 0 for ``t < w`` (the average is the model) and ``min(decay, (1 + t - w) / (10 + t - w))`` from then on,
    where w is ``warmup`` times all steps of the run. The average is a copy of the task with tensors of its own; at the
    end of an epoch it gets a copy of the model's buffers (batch-norm statistics, which are averages already; the source
    points its average at the model's own).
    :class:`~natx.training.hooks.Checkpoints` judges both, keeps the better as the best, and saves the average as the
    last weights and the model's own in ``last.pth``. So it serves every method and task: it sees parameters alone.

    Args:
        decay: largest d, 0 <= decay < 1.
        warmup: share of all steps before averaging begins.

    Attributes:
        task: the average, in eval mode; exists once the run has begun.

    Raises:
        ConfigError: a value out of range.

    Source: Gowal et al. 2020 as in DM-Improves-AT (``watrain.py``), with its values as defaults.
    """

    priority = "BELOW_NORMAL"  # the end of an epoch: after the buffers of all processes were made equal, before judging
    task: Task

    def __init__(self, decay: float = 0.995, warmup: float = 0.025) -> None:
        if not 0 <= decay < 1 or not 0 <= warmup < 1:
            raise ConfigError(f"ema needs 0 <= decay < 1 and 0 <= warmup < 1; got decay={decay} and warmup={warmup}")
        self.decay, self.warmup = decay, warmup

    def before_run(self, runner: Runner) -> None:
        """Copy the model; a resumed run loads both afterwards."""
        self.task = copy.deepcopy(_task(runner)).eval().requires_grad_(False)

    def decay_after(self, step: int, *, steps: int) -> float:
        """d after step ``step`` (from 1) of ``steps``."""
        since = step - self.warmup * steps
        return 0.0 if since < 0 else min(self.decay, (1 + since) / (10 + since))

    @torch.no_grad()
    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Move the average towards the model, where the optimiser has moved that."""
        if not runner.optim_wrapper.should_update():
            return
        each = runner.optim_wrapper._accumulative_counts
        step, steps = (math.ceil(iterations / each) for iterations in (runner.iter + 1, runner.max_iters))
        share = 1 - self.decay_after(step, steps=steps)
        for average, parameter in zip(self.task.parameters(), _task(runner).parameters()):
            average.lerp_(parameter, share)

    @torch.no_grad()
    def after_train_epoch(self, runner: Runner) -> None:
        """Copy the buffers."""
        for average, buffer in zip(self.task.buffers(), _task(runner).buffers()):
            average.copy_(buffer)


def _task(runner: Runner) -> Task:
    return learner_of(runner).task
