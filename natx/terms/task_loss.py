"""The task's own training losses."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from natx.batch import Batch
from natx.registry import TERMS
from natx.terms.base import Term, View


@TERMS.register_module()
class TaskLoss(Term):
    """Mean over the views of every loss the task names (the cross-entropy of Eq. 5 for a classifier).

    Logs each view's total without the word "loss" in the key (``total_clean``, ``total_adv``).
    """

    def forward(self, views: Sequence[View], batch: Batch) -> dict[str, Tensor]:
        """See :meth:`Term.forward`."""
        scalars = {
            name: torch.stack([view.output.losses[name] for view in views]).mean() for name in views[0].output.losses
        }
        for view in views:
            scalars[f"total_{view.name}"] = sum(loss.detach() for loss in view.output.losses.values())
        return scalars
