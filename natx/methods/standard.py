"""Training on clean images: vanilla, and nasty training without adversarial images."""

from __future__ import annotations

from torch import Tensor

from natx.batch import Batch
from natx.methods.base import Method
from natx.registry import METHODS
from natx.task import Task


@METHODS.register_module()
class Standard(Method):
    """Clean images only: vanilla training, or with :class:`~natx.terms.NastyKL` nasty training (Eq. 2)."""

    views = ("clean",)

    def make_views(self, task: Task, batch: Batch, *, epoch: int) -> list[Tensor]:
        """The batch's own pixels."""
        return [task.pixels(batch)]
