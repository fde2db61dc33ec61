"""Distillation: any training method with a frozen teacher beside it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from natx.batch import TEACHER, Batch, size
from natx.errors import ConfigError
from natx.methods.base import Around, Method
from natx.models.adversary import Adversary, build_adversary
from natx.registry import METHODS
from natx.task import Task
from natx.terms.distill import Distilled


@METHODS.register_module()
class Distillation(Around):
    """A method whose terms, and inner attack if that climbs ``TeacherKL``, follow a teacher's logits.

    The teacher runs once a step on the clean images, in eval mode under no_grad; its logits lie in the batch under
    ``teacher``, where :class:`~natx.objectives.TeacherKL` and the terms of :mod:`natx.terms.distill` find them. The
    method inside decides the rest: :class:`~natx.methods.Standard` for distillation on clean images,
    :class:`~natx.methods.Adversarial` for the robust ones, AWP around either. Terms that are no distillation (the nasty
    term, the task's own loss) may stand beside the others.

    Args:
        method: config of the method inside; one of its terms follows the teacher (ARD, RSLAD, IAD, KD).
        teacher: a model of this project, see :func:`natx.models.adversary.build_adversary`.

    Raises:
        ConfigError: no term follows the teacher, or the teacher does not fit (at :meth:`prepare`, before epoch 1).
    """

    def __init__(self, method: dict[str, Any] | Method, teacher: dict[str, Any] | Adversary) -> None:
        super().__init__(method)
        self.teacher = build_adversary(teacher, role="teacher")
        if isinstance(self.method, Distillation):
            raise ConfigError("Distillation inside Distillation: give one teacher, members=[...] makes it an ensemble")
        followers = [term for term in self.terms if isinstance(term, Distilled)]
        if not followers:
            names = ", ".join(type(term).__name__ for term in self.terms)
            raise ConfigError(f"no term follows the teacher (got {names}): add ARD, RSLAD, IAD or KD to method.terms")
        for term in followers:
            term.teacher = self.teacher

    def prepare(self, task: Task, device: torch.device) -> None:
        """Check the teacher's classes and input size, move it, and prepare the method inside."""
        self.teacher.check(task)
        self.teacher.to(device)
        super().prepare(task, device)

    def make_views(self, task: Task, batch: Batch, *, epoch: int) -> list[Tensor]:
        """Refused: a method around this one (AWP, SAM) would run the one inside without the teacher."""
        raise ConfigError(
            "Distillation is the outermost method: write dict(type='Distillation', method=dict(type='AWP', ...))"
        )

    def cost(self) -> tuple[float, float]:
        """See :meth:`Method.cost`; adds a forward of the teacher."""
        forwards, backwards = self.method.cost()
        return (forwards + len(self.teacher), backwards)

    def forward(self, task: Task, batch: Batch, *, epoch: int) -> dict[str, Tensor]:
        """See :meth:`Method.forward`; raises ConfigError for a task whose rows are no images (a detector)."""
        logits = self.teacher.logits(batch, task.pixels(batch))
        if len(logits) != size(batch):
            raise ConfigError(
                f"distillation compares whole images, and the teacher scores {len(logits)} rows for {size(batch)}: "
                "use it with a classifier"
            )
        return self.method(task, {**batch, TEACHER: logits}, epoch=epoch)
