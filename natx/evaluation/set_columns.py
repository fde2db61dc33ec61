"""The columns of an evaluation of a set: what the metric says of each, and of the worst of them image by image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from natx.evaluation.metric import Metric
from natx.evaluation.predictions import chosen
from natx.evaluation.robust import CLEAN
from natx.evaluation.statistics import Interval, mean_interval, wilson

Plain = dict[str, Any]
Outcome = tuple[Tensor, Tensor]  # which images had something to lose, which lost some of it


@dataclass
class WorstCase:
    """The set under whichever column harms each image most.

    Attributes:
        rule: how the column of an image is chosen.
        values: the metric's (%), of the predictions so chosen, measured together.
        intervals: of these.
        success: on how many images any attack succeeded; see :class:`natx.evaluation.sets.SetAttackResult`.
        alarms: false alarms added; likewise.
        chosen: how many of the attacked images are those of each column.
    """

    rule: str
    values: dict[str, float]
    intervals: dict[str, Interval]
    success: Plain | None
    alarms: Plain | None
    chosen: dict[str, int]


@dataclass
class Columns:
    """Columns as they are added, clean first.

    Attributes:
        metric: the set's metric.
        dataset: the set.
        with_intervals: whether to measure intervals too, which takes time.
        values: per column the metric's values.
        intervals: per column those of values that have one.
        scores: per column what each query adds, where the metric tells.
    """

    metric: Metric
    dataset: Any
    with_intervals: bool = False
    values: dict[str, dict[str, float]] = field(default_factory=dict)
    intervals: dict[str, dict[str, Interval]] = field(default_factory=dict)
    scores: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    _predictions: dict[str, Any] = field(default_factory=dict)
    _harm: dict[str, Sequence[Any]] = field(default_factory=dict)

    def add(self, name: str, predictions: Any, *, alone: bool = True) -> None:
        """Measure a column.

        Args:
            name: of the column.
            predictions: of every image of the set.
            alone: whether the predictions of an image depend on that image alone: not under an attack on a gallery.
        """
        self.values[name], self.intervals[name] = self._measured(predictions)
        if not alone:
            return
        if (scores := self.metric.scores(predictions, self.dataset)) is not None:
            self.scores[name] = scores
        if (harm := self.metric.harm(predictions, self.dataset)) is not None:
            self._harm[name], self._predictions[name] = harm, predictions

    def _measured(self, predictions: Any) -> tuple[dict[str, float], dict[str, Interval]]:
        if self.with_intervals:
            return self.metric.with_intervals(predictions, self.dataset)
        return self.metric(predictions, self.dataset), {}

    def outcome(self, clean: Any, attacked: Any) -> Outcome | None:
        """Where an attack succeeded, see :meth:`Metric.fooled`."""
        return self.metric.fooled(clean, attacked, dataset=self.dataset)

    def added_alarms(self, clean: Any, attacked: Any, positions: Sequence[int]) -> Plain | None:
        """False alarms that an attack adds to an image in the mean over those attacked; None without such a thing."""
        before, after = self.metric.alarms(clean, self.dataset), self.metric.alarms(attacked, self.dataset)
        if before is None or after is None:
            return None
        added = (after - before)[list(positions)]
        ends = mean_interval(added.tolist()) if self.with_intervals else None
        return {"added": float(added.mean()), **({} if ends is None else {"interval": list(ends)})}

    def worst(self, outcomes: Sequence[Outcome | None], positions: Sequence[int]) -> WorstCase | None:
        """The worst case over two attacks or more, and none; None where the metric does not tell of images.

        Args:
            outcomes: of the attacks.
            positions: of the attacked images.
        """
        if len(self._harm) < 3:
            return None
        names, columns = list(self._harm), list(self._harm.values())
        choice = [min(range(len(names)), key=lambda at: columns[at][image]) for image in range(len(columns[0]))]
        composed = chosen([self._predictions[name] for name in names], choice)
        values, intervals = self._measured(composed)
        counts = {name: sum(choice[at] == number for at in positions) for number, name in enumerate(names)}
        clean = self._predictions[CLEAN]
        alarms = self.added_alarms(clean, composed, positions)
        return WorstCase(self.metric.worst_rule, values, intervals, any_success(outcomes, positions), alarms, counts)


def success(outcome: Outcome | None, positions: Sequence[int]) -> Plain | None:
    """The success among the attacked images of what :meth:`Metric.fooled` says of all."""
    if outcome is None:
        return None
    at_stake, fooled = (one[list(positions)] for one in outcome)
    count, of = int((at_stake & fooled).sum()), int(at_stake.sum())
    if not of:
        return {"fooled": count, "of": of, "rate": None}
    return {"fooled": count, "of": of, "rate": 100 * count / of, "interval": [100 * end for end in wilson(count, of)]}


def any_success(outcomes: Sequence[Outcome | None], positions: Sequence[int]) -> Plain | None:
    """The images on which any of several attacks succeeded."""
    told = [outcome for outcome in outcomes if outcome is not None]
    if not told:
        return None
    return success((told[0][0], torch.stack([fooled for _, fooled in told]).any(0)), positions)
