"""TOG: a detector's own losses towards objects that are not there (Chow et al. 2020, "Adversarial Objectness Gradient
Attacks in Real-time Object Detection Systems"; ``tog/attacks.py`` and ``models/*.py`` of git-disl/TOG).

Each is an objective: the batch's annotations are exchanged before the first step, and the detector's losses on them are
climbed or descended, by PGD with ten steps of 2/255 from a random start as the authors' code does it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from natx.batch import Batch
from natx.errors import ConfigError, UnsupportedError
from natx.objectives.base import Objective
from natx.registry import OBJECTIVES
from natx.runtime.precision import full_precision
from natx.runtime.rng import uniform
from natx.task import Output, Task
from tasks.det.attacks.dense import can_look, logits_at
from tasks.det.attacks.wrong_class import other_classes
from tasks.det.readers.base import EVERY

STREAM = 0x706  # tells these draws from other attacks'


class OwnLoss(Objective):
    """The sum of an image's own losses (:attr:`natx.task.Output.image_losses`) on exchanged annotations.

    Attributes:
        sign: 1 where the losses are climbed, -1 where they are descended.
    """

    sign = -1.0

    def check(self, task: Task) -> None:
        """Raise UnsupportedError where a task is no detector."""
        if not hasattr(task, "reader"):
            raise UnsupportedError(
                f"{type(self).__name__} exchanges the objects of a detector's images, and a {type(task).__name__} has "
                "none: use PGD on CrossEntropy or Margin"
            )

    def __call__(self, output: Output, batch: Batch, *, x: Tensor) -> Tensor:
        """See :meth:`Objective.__call__`."""
        losses = output.image_losses or {}
        return self.sign * torch.stack([full_precision(loss) for loss in losses.values()]).sum(0)


class Nothing(OwnLoss):
    """The losses of images without objects: all that a detector says of objects costs it.

    As in the authors' code all priors count: what a detector samples or mines in training (SSD's hardest negatives, the
    samples of both stages of Faster R-CNN) is not chosen. Readers of other families sample as their heads do.
    """

    def prepare(self, task: Task, batch: Batch, *, x: Tensor) -> Batch:
        """The annotations without their objects."""
        empty = [_with(annotation, lambda values: values[:0]) for annotation in batch["data_samples"]]
        return {"data_samples": empty, EVERY: torch.ones(len(empty), dtype=torch.bool)}


@OBJECTIVES.register_module()
class TOGVanishing(Nothing):
    """Down the losses of an image without objects: what was detected is to vanish."""


@OBJECTIVES.register_module()
class TOGFabrication(Nothing):
    """Up the losses of an image without objects: objects are to appear everywhere.

    This is the authors' code for SSD (``models/ssd.py``). That for Faster R-CNN (``models/frcnn.py``) instead lowers
    the loss of the region proposal network towards objects and raises the second stage's loss of its own predictions.
    """

    sign = 1.0


@OBJECTIVES.register_module()
class TOGMislabelling(OwnLoss):
    """Down the losses of the clean detections with other classes: found at the same place, and taken for another.

    Detections of the clean image stand for objects, as in the authors' code: the truth is not looked at. An image in
    which nothing is detected has score 0.

    Args:
        target: the class of each detection: 'likely' (the most likely one but its own) and 'unlikely' (the least likely
            one) as in the authors' code, which reads them from the detection's logits; 'random', drawn for each class
            from those that are not detected, for every detector.
        score: least score of a detection (0.5 and 0.7 in their code).
        seed: of the draws of 'random'.

    Raises:
        ConfigError: another target, or a score that is none.
    """

    def __init__(
        self, target: Literal["likely", "unlikely", "random"] = "random", *, score: float = 0.5, seed: int = 0
    ) -> None:
        if target not in ("likely", "unlikely", "random") or not 0 <= score < 1:
            raise ConfigError(
                f"target is 'likely', 'unlikely' or 'random' and score lies in [0,1); got {target!r} and {score}"
            )
        self.target, self.score, self.seed = target, score, seed
        self.prepare_forwards = 1 if target == "random" else 2

    def check(self, task: Task) -> None:
        """See :meth:`Objective.check`; two classes, and for all but 'random' a detector whose logits can be read."""
        super().check(task)
        if task.num_classes < 2:
            raise UnsupportedError(
                "TOGMislabelling turns a class into another one, and the detector has only one: use TOGVanishing or "
                "TOGFabrication"
            )
        if self.target != "random" and not can_look(task):
            raise UnsupportedError(
                f"TOGMislabelling reads class logits for target={self.target!r} of SSD, RetinaNet and Faster R-CNN "
                "alone: use target='random'"
            )

    def prepare(self, task: Any, batch: Batch, *, x: Tensor) -> Batch:
        """The clean detections of other classes in place of the annotations (a forward, or two with logits)."""
        boxes, labels = [], []
        for prediction in task.predict({**batch, "inputs": x}):
            confident = prediction["scores"] >= self.score
            boxes.append(prediction["boxes"][confident].to(x.device))
            labels.append(prediction["labels"][confident].to(x.device))
        wrong = (
            self._drawn(task, batch, labels) if self.target == "random" else self._read(task, batch, x, boxes, labels)
        )
        samples = [
            replace(
                annotation.to(x.device),
                boxes=at.to(annotation.boxes.dtype),
                labels=classes,
                difficult=torch.zeros_like(classes, dtype=torch.bool),
                edge=0.0,
            )
            for annotation, at, classes in zip(batch["data_samples"], boxes, wrong)
        ]
        return {"data_samples": samples}

    def __call__(self, output: Output, batch: Batch, *, x: Tensor) -> Tensor:
        """See :meth:`Objective.__call__`."""
        detected = torch.tensor([len(annotation.labels) > 0 for annotation in batch["data_samples"]], device=x.device)
        return super().__call__(output, batch, x=x) * detected

    def describe(self) -> dict[str, Any]:
        """See :meth:`Objective.describe`."""
        return {**super().describe(), "target": self.target, "score": self.score}

    def _drawn(self, task: Task, batch: Batch, labels: Sequence[Tensor]) -> list[Tensor]:
        count = task.num_classes
        draws = uniform(batch["index"], (count, count), seed=self.seed, epoch=0, stream=STREAM)
        return [other_classes(draw.to(own.device), own)[own] for draw, own in zip(draws, labels)]

    def _read(
        self, task: Task, batch: Batch, x: Tensor, boxes: Sequence[Tensor], labels: Sequence[Tensor]
    ) -> list[Tensor]:
        wrong = []
        for logits, own in zip(logits_at(task, batch, x=x, boxes=boxes), labels):
            least = self.target == "unlikely"
            others = (-logits if least else logits).scatter(1, own[:, None], -torch.inf)
            wrong.append(others.argmax(1))
        return wrong


def _with(annotation: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """An annotation whose objects are changed alike."""
    return replace(annotation, **{name: change(getattr(annotation, name)) for name in ("boxes", "labels", "difficult")})
