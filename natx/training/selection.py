"""Selection: which epoch is the best, judged on held-out images."""

from __future__ import annotations

from typing import Any

from natx.attacks import Attack, counted
from natx.errors import ConfigError
from natx.evaluation.metric import Metric
from natx.evaluation.robust import CLEAN, evaluate
from natx.evaluation.sets import evaluate_set
from natx.task import Task


class Selection:
    """Scores a task on a data set: clean and, with an attack, robust, each in percent.

    The score is accuracy where an image by itself is right or wrong, otherwise the metric's first value.

    Args:
        dataset: held-out images (or the test set under protocol='paper', which the report says).
        name: what the images are, for the log.
        attack: the attack whose score counts; None selects by the clean score.
        metric: of set-level tasks.
        every: score every so many epochs (the last epoch always).
        batch_size: images per step.
    """

    def __init__(
        self,
        dataset: Any,
        name: str,
        *,
        attack: Attack | None = None,
        metric: Metric | None = None,
        every: int = 1,
        batch_size: int = 250,
    ) -> None:
        if every < 1:
            raise ConfigError(f"select.every must be at least 1; got {every}")
        self.dataset, self.name, self.attack, self.measure = dataset, name, attack, metric
        self.every, self.batch_size = every, batch_size

    @property
    def metric(self) -> str:
        """The score that decides."""
        return "clean" if self.attack is None else "robust"

    def describe(self, task: Task) -> str:
        """On which images the best epoch is chosen, by what and how often."""
        score = "accuracy" if task.per_image_success else "score" if self.measure is None else self.measure.cell[0]
        what = f"clean {score}" if self.attack is None else f"{score} under {self.attack.name} ({self.attack.threat})"
        often = "every epoch" if self.every == 1 else f"every {self.every} epochs and the last"
        return f"{self.name}, by {what}, {often}"

    def cost(self) -> float:
        """Forwards and backwards of one image that one look takes, counted as in :meth:`natx.methods.Method.cost`."""
        attack = (0, 0) if self.attack is None else counted(self.attack)
        return len(self.dataset) * (1 + sum(attack))

    def __call__(self, task: Task) -> dict[str, float]:
        """Scores in percent: 'clean' and, with an attack, 'robust'.

        Raises:
            ConfigError: a set-level task and no metric.
        """
        attacks = [] if self.attack is None else [self.attack]
        if task.per_image_success:
            evaluation = evaluate(task, self.dataset, attacks, batch_size=self.batch_size)
            scores = {"clean": evaluation.accuracy(CLEAN)}
            return scores if self.attack is None else {**scores, "robust": evaluation.worst_case()}
        if self.measure is None:
            raise ConfigError(f"{type(task).__name__} needs a metric to choose a checkpoint: add metric=dict(type=...)")
        outcome = evaluate_set(task, self.dataset, attacks, metric=self.measure, batch_size=self.batch_size)
        first = self.measure.cell[0]
        scores = {"clean": outcome.values[CLEAN][first]}
        return scores if self.attack is None else {**scores, "robust": outcome.values[self.attack.name][first]}
