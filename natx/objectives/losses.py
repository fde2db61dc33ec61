"""Losses as objectives: cross-entropy, margin, DLR, KL and the task's own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from natx.batch import Batch
from natx.errors import ConfigError, UnsupportedError
from natx.objectives.base import Objective
from natx.registry import OBJECTIVES
from natx.runtime.precision import full_precision, kl_divergence
from natx.task import Output, Task


@OBJECTIVES.register_module()
class CrossEntropy(Objective):
    """Cross-entropy of the labels (natural log), summed over an image's rows; Eq. 3 of the paper."""

    def __call__(self, output: Output, batch: Batch, *, x: Tensor) -> Tensor:
        """See :meth:`Objective.__call__`."""
        logits, labels = full_precision(output.logits), self.labels(output)
        if output.link == "softmax":
            return output.per_image(F.cross_entropy(logits, labels, reduction="none"))
        if labels.dim() == 1:  # a label equal to C means background: no class is on
            labels = F.one_hot(labels, logits.shape[1] + 1)[:, :-1]
        rows = F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="none").sum(1)
        return output.per_image(rows)


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """``max_{j != y} z_j - z_y`` per row ``[M]``: positive where the row is misclassified."""
    wrong = logits.scatter(1, labels[:, None], -torch.inf)
    return wrong.amax(1) - logits.gather(1, labels[:, None]).squeeze(1)


@OBJECTIVES.register_module()
class Margin(Objective):
    """The Carlini-Wagner margin ``max_{j != y} z_j - z_y`` without clamp (Carlini & Wagner 2017)."""

    def __call__(self, output: Output, batch: Batch, *, x: Tensor) -> Tensor:
        """See :meth:`Objective.__call__`."""
        self._softmax_only(output)
        return output.per_image(margin(full_precision(output.logits), self.hard_labels(output)))


@OBJECTIVES.register_module()
class DLR(Objective):
    """Difference of logits ratio ``-(z_y - max_{j != y} z_j) / (z_(1) - z_(3) + 1e-12)`` (Croce & Hein 2020).

    Invariant to shifting and scaling the logits. Needs at least three classes.
    """

    def check(self, task: Task) -> None:
        """See :meth:`Objective.check`."""
        if task.num_classes < 3:
            raise UnsupportedError(f"DLR needs at least 3 classes; got {task.num_classes}: use Margin")

    def __call__(self, output: Output, batch: Batch, *, x: Tensor) -> Tensor:
        """See :meth:`Objective.__call__`."""
        self._softmax_only(output)
        logits = full_precision(output.logits)
        top = logits.topk(3, dim=1).values
        ratio = margin(logits, self.hard_labels(output)) / (top[:, 0] - top[:, 2] + 1e-12)
        return output.per_image(ratio)


@OBJECTIVES.register_module()
class KL(Objective):
    """``KL(p(x) || p(x'))``: distance from the model's own clean prediction (TRADES' inner loss).

    The clean prediction is computed once and held fixed: its gradient with respect to x' is zero. The gradient at
    x' = x is zero, so the attack needs a random start. Only where a row is an image: a detector's rows (hardest
    negatives, proposals) change with the pixels, so there is no clean prediction of the same row.
    """

    key = "clean_log_probs"
    prepare_forwards = 1
    needs_random_start = True

    def prepare(self, task: Task, batch: Batch, *, x: Tensor) -> Batch:
        """Clean log-probabilities ``[N, C]`` (one forward); raises ConfigError where rows are no images."""
        with torch.no_grad():
            output = task.read(task.network(x, batch), batch)
        self._softmax_only(output)
        if output.rows is not None:
            raise ConfigError(
                f"KL compares each image's clean prediction with its attacked one; {type(task).__name__} has none for "
                "a whole image, and its rows change with the pixels: use ImageLoss or CrossEntropy"
            )
        return {self.key: F.log_softmax(full_precision(output.logits), dim=1)}

    def __call__(self, output: Output, batch: Batch, *, x: Tensor) -> Tensor:
        """See :meth:`Objective.__call__`."""
        log_probs = F.log_softmax(full_precision(output.logits), dim=1)
        return output.per_image(kl_divergence(batch[self.key], log_probs))


@OBJECTIVES.register_module()
class NamedLoss(Objective):
    """One of the task's own training losses, by name (``loss_cls`` of a detector, ...).

    The losses are means over the batch, so the score is that mean for every image: not a per-image objective.
    """

    per_image = False

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, output: Output, batch: Batch, *, x: Tensor) -> Tensor:
        """See :meth:`Objective.__call__`; raises ConfigError for an unknown name."""
        if self.name not in output.losses:
            raise ConfigError(f"the task has no loss {self.name!r}; it has {sorted(output.losses)}")
        return full_precision(output.losses[self.name]).expand(output.num_images)

    def describe(self) -> dict[str, Any]:
        """See :meth:`Objective.describe`."""
        return {**super().describe(), "loss": self.name}


@OBJECTIVES.register_module()
class ImageLoss(Objective):
    """One of the losses of each image by itself (:attr:`natx.task.Output.image_losses`), or their sum.

    Args:
        name: ``loss_cls`` of a detector, ...; None for the sum of all.
    """

    def __init__(self, name: str | None = None) -> None:
        self.name = name

    def __call__(self, output: Output, batch: Batch, *, x: Tensor) -> Tensor:
        """See :meth:`Objective.__call__`; raises ConfigError where the task has no such loss."""
        losses = output.image_losses
        if not losses or (self.name is not None and self.name not in losses):
            raise ConfigError(f"the task has no per-image loss {self.name or ''!r}; it has {sorted(losses) or 'none'}")
        chosen = losses.values() if self.name is None else [losses[self.name]]
        return torch.stack([full_precision(loss) for loss in chosen]).sum(0)

    def describe(self) -> dict[str, Any]:
        """See :meth:`Objective.describe`."""
        return {**super().describe(), "loss": self.name or "all"}
