"""Objective: what an attack climbs, one score per image."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from natx.batch import Batch
from natx.errors import ConfigError
from natx.registry import OBJECTIVES
from natx.task import Output, Task


class Objective:
    """One score per image, to be maximised.

    Attributes:
        per_image: whether image i's score depends on image i alone; per-image success needs this.
        prepare_forwards: forwards per image that :meth:`prepare` spends.
        needs_random_start: whether the gradient at the clean image is zero, so that an attack must start elsewhere.
    """

    per_image: bool = True
    prepare_forwards: int = 0
    needs_random_start: bool = False

    @property
    def observes(self) -> bool:
        """Whether :meth:`observe` looks at predictions, so that a set must be predicted before it is attacked."""
        return type(self).observe is not Objective.observe

    def observe(self, dataset: Any, predictions: Any) -> list[str]:
        """See the clean predictions of a whole set before some of its images are attacked; remarks for the report."""
        return []

    def scope(self, dataset: Any) -> list[str]:
        """Remarks on which images of a set are attacked, where these are not those that the set itself names."""
        return []

    def images_of(self, dataset: Any) -> list[int] | None:
        """Positions of the images of a set that are to be attacked; None for those that the set itself names."""
        return None

    def check(self, task: Task) -> None:
        """Raise UnsupportedError, with what to use instead, where a task has nothing that the objective can score."""

    def prepare(self, task: Task, batch: Batch, *, x: Tensor) -> Batch:
        """Extra per-image entries for the batch, computed once before the attack starts (none by default)."""
        return {}

    def __call__(self, output: Output, batch: Batch, *, x: Tensor) -> Tensor:
        """Score ``[N]`` of the output for the (perturbed) pixels ``x``."""
        raise NotImplementedError

    def cost(self) -> tuple[int, int]:
        """Extra (forwards, backwards) per image and step beyond the attacked network's own."""
        return (0, 0)

    def forms(self) -> list[Objective]:
        """Other forms of the objective that an audit tries, because they may do more against a model."""
        return []

    def describe(self) -> dict[str, Any]:
        """Plain values that define the objective, for the report."""
        return {"objective": type(self).__name__}

    def labels(self, output: Output) -> Tensor:
        """Classes ``[M]`` or class distributions ``[M, C]`` of the rows; raises ConfigError where there are none."""
        if output.labels is None:
            raise ConfigError(
                f"{type(self).__name__} needs class labels, and these images are of no class of the head: attack them "
                "with an objective of the task"
            )
        return output.labels

    def hard_labels(self, output: Output) -> Tensor:
        """Classes of the rows ``[M]``, of a distribution the most probable one."""
        labels = self.labels(output)
        return labels if labels.dim() == 1 else labels.argmax(1)

    def _softmax_only(self, output: Output) -> None:
        if output.link != "softmax":
            raise ConfigError(f"{type(self).__name__} compares classes of one softmax; got a {output.link!r} head")


def build_objective(config: Objective | dict[str, Any] | None) -> Objective:
    """An objective from its config; None is cross-entropy."""
    return config if isinstance(config, Objective) else OBJECTIVES.build(config or dict(type="CrossEntropy"))
