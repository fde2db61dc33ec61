"""The L1 penalty on weights (Eq. 15): sparsity of the model instead of its output."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from natx.batch import Batch
from natx.errors import ConfigError
from natx.registry import TERMS
from natx.runtime.precision import full_precision
from natx.task import Task
from natx.terms.base import Term, View


@TERMS.register_module()
class LASSO(Term):
    """``weight * sum |w|`` over the target's weights, a plain sum as in Eq. 15; its subgradient at 0 is 0.

    It is added to the loss and not applied as a proximal step, so weights come near zero and not to it. By default
    biases and the scales of norm layers are left out, as in the L1 runs of robust_overfitting (``train_cifar.py``,
    by name there): they are the parameters with fewer than two dimensions. Frozen parameters never count.

    The views do not matter, so it goes with any method.

    Args:
        weight: lambda of Eq. 15 (App. K: 1e-4; a sum, so it grows with the model).
        exclude_bn_bias: leave out biases and norm layers.
    """

    def __init__(self, weight: float = 1e-4, *, exclude_bn_bias: bool = True) -> None:
        super().__init__()
        if not (math.isfinite(weight) and weight >= 0):
            raise ConfigError(f"LASSO needs a finite weight >= 0; got {weight}")
        self.weight, self.exclude_bn_bias = weight, exclude_bn_bias
        # In a list, so that the task does not become a part of the term (its state, the optimiser).
        self._task: list[Task] = []

    def prepare(self, task: Task, device: torch.device) -> None:
        """Remember the task whose weights count."""
        if not any(self._counts(p) for p in task.parameters()):
            raise ConfigError("LASSO finds no weights to shrink: the model has no trainable tensor of two dimensions")
        self._task = [task]

    def forward(self, views: Sequence[View], batch: Batch) -> dict[str, Tensor]:
        """See :meth:`Term.forward`; logs the sum as ``l1_norm``."""
        # Read anew each step: what the task holds now may be moved weights (AWP), through which gradients flow too.
        norms = [full_precision(p).abs().sum() for p in self._task[0].parameters() if self._counts(p)]
        total = torch.stack(norms).sum()
        return {"loss_lasso": self.weight * total, "l1_norm": total.detach()}

    def describe(self) -> dict[str, Any]:
        """See :meth:`Term.describe`."""
        return {**super().describe(), "weight": self.weight, "exclude_bn_bias": self.exclude_bn_bias}

    def _counts(self, parameter: nn.Parameter) -> bool:
        return parameter.requires_grad and (parameter.dim() > 1 or not self.exclude_bn_bias)
