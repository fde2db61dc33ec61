"""What the terms of distillation share: the teacher, and the KL to its class distribution.

ARD, RSLAD, IAD and KD (one file each) are for a method inside :class:`natx.methods.Distillation`, which holds the
teacher and puts its logits of the clean images into the batch. ``p_S`` and ``p_T`` are the student's and the teacher's
softmax, ``p^t`` those of logits divided by the temperature t, ``x`` the clean and ``x'`` the adversarial images, ``C``
the number of classes. ``KL`` is summed over the classes and averaged over the images ("batchmean") in fp32; where
published code divides it by the classes as well (PyTorch's ``KLDivLoss()`` without arguments), that factor is the
argument ``scale``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from natx.errors import ConfigError
from natx.models.adversary import Adversary
from natx.runtime.precision import full_precision, kl_divergence
from natx.task import Output, Task
from natx.terms.base import Term, View


class Distilled(Term):
    """Base of the terms that follow a teacher.

    Attributes:
        teacher: whose logits the batches hold; set by :class:`natx.methods.Distillation`.
    """

    teacher: Adversary | None = None

    def prepare(self, task: Task, device: torch.device) -> None:
        """Raise ConfigError where no teacher was bound."""
        self.bound_teacher()

    def bound_teacher(self) -> Adversary:
        """The teacher; raises ConfigError where there is none."""
        if self.teacher is None:
            name = type(self).__name__
            raise ConfigError(
                f"{name} follows a teacher and there is none: write method=dict(type='Distillation', "
                f"teacher=dict(config=...), method=<the method with {name}>)"
            )
        return self.teacher

    def describe(self) -> dict[str, Any]:
        """See :meth:`Term.describe`."""
        plain = {key: value for key, value in vars(self).items() if type(value) in (bool, int, float)}
        plain.pop("training")
        return {**super().describe(), **plain, "teacher": self.teacher.origin if self.teacher else None}

    def outputs(self, views: Sequence[View]) -> dict[str, Output]:
        """The student's output on each view the term needs; raises ConfigError where it is no softmax of an image."""
        chosen = {view.name: view.output for view in self.pick(views)}
        for output in chosen.values():
            if output.rows is not None:
                raise ConfigError(
                    f"{type(self).__name__} compares whole images, and this task scores anchors or proposals"
                )
            if output.link != "softmax":
                raise ConfigError(f"{type(self).__name__} compares classes of one softmax; got a {output.link!r} head")
        return chosen


def soft_loss(output: Output, teacher: Tensor, *, temperature: float = 1.0, shown: int | None = None) -> Tensor:
    """``KL(p_T^t || p_S^t)``, averaged as the classification loss is: 0-dim.

    Args:
        output: the student's output.
        teacher: the teacher's logits ``[N, C]``.
        temperature: t; both logits are divided by it.
        shown: how many of the teacher's largest logits enter its softmax; None for all.
    """
    teacher = full_precision(teacher) / temperature
    q_log = F.log_softmax(full_precision(output.logits) / temperature, dim=1)
    if shown is not None and shown < teacher.shape[1]:
        # Classes that are left out are not summed: minus infinity as their logit would give 0 * inf.
        teacher, classes = teacher.topk(shown, dim=1)
        q_log = q_log.gather(1, classes)
    return (output.row_weight * kl_divergence(F.log_softmax(teacher, dim=1), q_log)).sum()


def hard_loss(output: Output) -> Tensor:
    """The task's own losses of a view: 0-dim."""
    return torch.stack(list(output.losses.values())).sum()


def check_share(term: Term, name: str, value: float) -> None:
    """Raise ConfigError where a weight that shares the loss with another is not in [0, 1]."""
    if not 0 <= value <= 1:
        raise ConfigError(f"{type(term).__name__} needs {name} in [0, 1]; got {value}")


def check_positive(term: Term, **values: float) -> None:
    """Raise ConfigError where a value is not a positive number."""
    for name, value in values.items():
        if not 0 < value < float("inf"):
            raise ConfigError(f"{type(term).__name__} needs {name} > 0; got {value}")
