"""Selection: which epoch is the best, judged on held-out images."""

from __future__ import annotations

from typing import Any

from natx.attacks import Attack
from natx.errors import ConfigError
from natx.evaluation.robust import CLEAN, evaluate
from natx.task import Task


class Selection:
    """Scores a task on a data set: clean accuracy and, with an attack, robust accuracy.

    Args:
        dataset: held-out images (or the test set under protocol='paper', which the report says).
        name: what the images are, for the log.
        attack: the attack whose accuracy counts; None selects by clean accuracy.
        every: score every so many epochs (the last epoch always).
        batch_size: images per step.
    """

    def __init__(
        self, dataset: Any, name: str, *, attack: Attack | None = None, every: int = 1, batch_size: int = 250
    ) -> None:
        if every < 1:
            raise ConfigError(f"select.every must be at least 1; got {every}")
        self.dataset, self.name, self.attack = dataset, name, attack
        self.every, self.batch_size = every, batch_size

    @property
    def metric(self) -> str:
        """The score that decides."""
        return "clean" if self.attack is None else "robust"

    def __call__(self, task: Task) -> dict[str, float]:
        """Accuracies in percent: 'clean' and, with an attack, 'robust'."""
        attacks = [] if self.attack is None else [self.attack]
        evaluation = evaluate(task, self.dataset, attacks, batch_size=self.batch_size)
        scores = {"clean": evaluation.accuracy(CLEAN)}
        if self.attack is not None:
            scores["robust"] = evaluation.worst_case()
        return scores
