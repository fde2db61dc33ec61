"""LBGAT: the logits of a network that learns clean images guide the robust one (Cui et al. 2021)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from natx.batch import Batch
from natx.errors import ConfigError
from natx.models.companion import build_companion, check_same_pixels
from natx.registry import TERMS
from natx.runtime.precision import full_precision
from natx.task import Task
from natx.terms.base import Term, View


@TERMS.register_module()
class LBGAT(Term):
    """``weight * MSE(f(x'), g(x)) + CE(g(x), y)``: the robust network f follows the logits of a natural network g.

    The mean square goes over all images and classes and its gradient into both networks. g starts from random weights,
    sees clean images only, in train mode, and is trained by the run's one optimiser together with f; there is no
    cross-entropy on f, so no TaskLoss belongs beside this term. With TRADES(6) beside it this is LBGAT6, alone LBGAT0;
    both attack f as TRADES does (PGD on KL). Use it without ``joint_batch`` for the original's forwards of f on each
    view alone.

    Sources: Cui et al. 2021; ``lbgat.py`` and ``train_lbgat_cifar100.py`` of dvlab-research/LBGAT. Deviation: each
    network normalises its pixels, where the original feeds both with pixels in [0,1].

    Logs the accuracy of g as ``acc_natural`` (%).

    Args:
        natural: config of the task g, with the target's classes and input size.
        weight: of the mean square; 1 in the original.

    Raises:
        ConfigError: a weight below 0, a natural network that does not fit the target (before epoch 1), or a task whose
            rows are not whole images.
    """

    needs = ("adv",)

    def __init__(self, natural: Task | dict[str, Any], weight: float = 1.0) -> None:
        super().__init__()
        if not (math.isfinite(weight) and weight >= 0):
            raise ConfigError(f"LBGAT needs a finite weight >= 0; got {weight}")
        self.natural, self.weight = build_companion(natural), weight

    def prepare(self, task: Task, device: torch.device) -> None:
        """Check classes and input size, move the natural network."""
        if self.natural.num_classes != task.num_classes:
            raise ConfigError(
                f"LBGAT's natural network has {self.natural.num_classes} classes, the target {task.num_classes}: set "
                f"natural.num_classes={task.num_classes}"
            )
        check_same_pixels(self.natural, task, name="LBGAT's natural network")
        self.natural.to(device)

    def cost(self, views: Sequence[str]) -> tuple[float, float]:
        """One forward and one backward of the natural network."""
        return (1, 1)

    def forward(self, views: Sequence[View], batch: Batch) -> dict[str, Tensor]:
        """See :meth:`Term.forward`."""
        (adv,) = self.pick(views)
        if adv.output.rows is not None or adv.output.link != "softmax":
            raise ConfigError(
                "LBGAT compares the logits of whole images; this task scores others: it is for classifiers"
            )
        natural = self.natural(batch)
        logits = full_precision(natural.logits)
        labels = natural.labels if natural.labels.dim() == 1 else natural.labels.argmax(1)
        return {
            "loss_guide": self.weight * F.mse_loss(full_precision(adv.output.logits), logits),
            **{f"{name}_natural": loss for name, loss in natural.losses.items()},
            "acc_natural": (logits.detach().argmax(1) == labels).float().mean() * 100,
        }

    def describe(self) -> dict[str, Any]:
        """See :meth:`Term.describe`."""
        parameters = sum(parameter.numel() for parameter in self.natural.parameters())
        return {**super().describe(), "weight": self.weight, "natural_parameters": parameters}
