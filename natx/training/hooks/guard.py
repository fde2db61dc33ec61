"""Stops a training whose loss is no longer a number."""

from __future__ import annotations

import math
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from natx.errors import NonFiniteError
from natx.registry import HOOKS


@HOOKS.register_module()
class NonFiniteGuard(Hook):
    """Raises NonFiniteError at the first loss that is NaN or infinite.

    It stops before the epoch's checkpoint is written, so the last good checkpoint stays.
    """

    priority = "VERY_HIGH"

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """See the class."""
        losses = {k: float(v.detach()) for k, v in (outputs or {}).items() if "loss" in k}
        bad = {k: v for k, v in losses.items() if not math.isfinite(v)}
        if bad:
            names = ", ".join(f"{k}={v}" for k, v in bad.items())
            raise NonFiniteError(
                f"training stopped at epoch {runner.epoch + 1}, iteration {batch_idx + 1}: {names}. The last good "
                f"checkpoint in {runner.work_dir} is kept; lower the learning rate, clip gradients or run without --amp"
            )
