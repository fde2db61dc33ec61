"""Term: one summand of a training loss, and the views it is computed on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from natx.batch import Batch
from natx.task import Output, Task


@dataclass
class View:
    """One version of the batch: its name ('clean' or 'adv'), its pixels and the target's output on them."""

    name: str
    x: Tensor
    output: Output


class Term(nn.Module):
    """A summand of the loss.

    ``forward`` returns named scalars; a key contains "loss" only if it is to be optimised, because mmengine sums every
    key that does. A term over several views is the mean over them, so adding a view does not change its scale.
    """

    def prepare(self, task: Task, device: torch.device) -> None:
        """Checks and moves companions once before training."""

    def cost(self, views: Sequence[str]) -> tuple[float, float]:
        """Extra (forwards, backwards) per image and step beyond the views' own."""
        return (0, 0)

    def forward(self, views: Sequence[View], batch: Batch) -> dict[str, Tensor]:
        """Named scalars of this step."""
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        """Plain values for logs."""
        return {"type": type(self).__name__}
