"""The task's own training losses."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from natx.batch import Batch
from natx.errors import ConfigError
from natx.registry import TERMS
from natx.terms.base import Term, View


@TERMS.register_module()
class TaskLoss(Term):
    """Mean over the views of every loss the task names (the cross-entropy of Eq. 5 for a classifier).

    Logs each view's total without the word "loss" in the key (``total_clean``, ``total_adv``).

    Args:
        on: names of the views it acts on, such as ``("clean",)``; None for all the method makes.
    """

    def __init__(self, on: Sequence[str] | None = None) -> None:
        super().__init__()
        if on is not None and (isinstance(on, str) or not on or not set(on) <= {"clean", "adv"}):
            raise ConfigError(f"on names the views 'clean' and/or 'adv', as in on=('clean',); got {on!r}")
        self.needs = tuple(on or ())

    def forward(self, views: Sequence[View], batch: Batch) -> dict[str, Tensor]:
        """See :meth:`Term.forward`."""
        chosen = self.pick(views) if self.needs else views
        scalars = {
            name: torch.stack([view.output.losses[name] for view in chosen]).mean() for name in chosen[0].output.losses
        }
        for view in views:
            first, *rest = (loss.detach() for loss in view.output.losses.values())
            scalars[f"total_{view.name}"] = sum(rest, first)
        return scalars
