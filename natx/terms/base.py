"""Term: one summand of a training loss, and the views it is computed on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from natx.batch import Batch
from natx.errors import ConfigError
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

    Attributes:
        needs: names of the views it cannot do without; a method refuses to train where it does not make them.
    """

    needs: tuple[str, ...] = ()

    def prepare(self, task: Task, device: torch.device) -> None:
        """Checks and moves companions once before training."""

    def check_views(self, names: Sequence[str]) -> None:
        """Raise ConfigError where a method makes views of these names and one that the term needs is missing."""
        missing = [name for name in self.needs if name not in names]
        if missing:
            raise ConfigError(
                f"{type(self).__name__} needs the view {missing[0]!r}, and the method makes {tuple(names)} only: "
                "set its views to ('clean', 'adv')"
            )

    def pick(self, views: Sequence[View]) -> list[View]:
        """The views the term needs, in the order of :attr:`needs`."""
        by_name = {view.name: view for view in views}
        self.check_views(tuple(by_name))
        return [by_name[name] for name in self.needs]

    def cost(self, views: Sequence[str]) -> tuple[float, float]:
        """Extra (forwards, backwards) per image and step beyond the views' own."""
        return (0, 0)

    def forward(self, views: Sequence[View], batch: Batch) -> dict[str, Tensor]:
        """Named scalars of this step."""
        raise NotImplementedError

    def remarks(self) -> list[str]:
        """What the log should say of the epoch that ends, and nothing of it the next time."""
        return []

    def describe(self) -> dict[str, Any]:
        """Plain values for logs."""
        return {"type": type(self).__name__}
