"""Objectives towards a class: what the steps of a targeted attack climb."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from natx.batch import Batch
from natx.errors import ConfigError, UnsupportedError
from natx.objectives.base import Objective
from natx.registry import OBJECTIVES
from natx.runtime.precision import full_precision
from natx.task import Output, Task

TARGET = "target"  # entry of a batch: the class that each image is to be taken for, int64 [N]


class TargetedObjective(Objective):
    """One score per image that rises as the image is taken for its target class.

    The classes come with the batch, put there by :class:`natx.attacks.Targeted`. Only where a row is an image.
    """

    def _logits_and_targets(self, output: Output, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logits ``[N, C]`` in full precision and target classes ``[N]``; raises ConfigError where there are none."""
        self._softmax_only(output)
        if TARGET not in batch:
            raise ConfigError(
                f"{type(self).__name__} needs a class to aim at: use it as the objective of the attack inside "
                "dict(type='Targeted', attack=...)"
            )
        if output.rows is not None:
            raise ConfigError(f"{type(self).__name__} aims at one class per image; this task scores several rows")
        return full_precision(output.logits), batch[TARGET].to(output.logits.device)


@OBJECTIVES.register_module()
class TargetedCrossEntropy(TargetedObjective):
    """``log p_t``: minus the cross-entropy of the target class."""

    def __call__(self, output: Output, batch: Batch, *, x: Tensor) -> Tensor:
        """See :meth:`Objective.__call__`."""
        return -F.cross_entropy(*self._logits_and_targets(output, batch), reduction="none")


@OBJECTIVES.register_module()
class TargetedMargin(TargetedObjective):
    """``z_t - z_y``: positive where the target class is ahead of the label."""

    def __call__(self, output: Output, batch: Batch, *, x: Tensor) -> Tensor:
        """See :meth:`Objective.__call__`."""
        logits, targets = self._logits_and_targets(output, batch)
        return _ahead(logits, targets, self.hard_labels(output))


@OBJECTIVES.register_module()
class TargetedDLR(TargetedObjective):
    """``-(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2 + 1e-12)`` (Croce & Hein 2020); needs at least four classes."""

    def check(self, task: Task) -> None:
        """See :meth:`Objective.check`."""
        if task.num_classes < 4:
            raise UnsupportedError(f"TargetedDLR needs at least 4 classes; got {task.num_classes}: use TargetedMargin")

    def __call__(self, output: Output, batch: Batch, *, x: Tensor) -> Tensor:
        """See :meth:`Objective.__call__`."""
        logits, targets = self._logits_and_targets(output, batch)
        top = logits.topk(4, dim=1).values
        spread = top[:, 0] - (top[:, 2] + top[:, 3]) / 2 + 1e-12
        return _ahead(logits, targets, self.hard_labels(output)) / spread


def _ahead(logits: Tensor, targets: Tensor, labels: Tensor) -> Tensor:
    """How far the targets' logits are above the labels' ``[N]``."""
    return (logits.gather(1, targets[:, None]) - logits.gather(1, labels[:, None])).squeeze(1)
