"""Metric: numbers for a whole set, where no image by itself is right or wrong (retrieval, detection)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from natx.evaluation.statistics import Interval


class Metric:
    """Values of a test set from the predictions of all its images.

    Attributes:
        cell: names of the values that make a table's cell, in order; the first one selects checkpoints.
        meanings: what values are, in a line each, for reports.
        units: the units of values that are no percentages.
        worst_rule: how the worst case is taken where there is a :meth:`harm`: a sentence that goes on from "The worst
            case".
    """

    cell: ClassVar[tuple[str, ...]]
    meanings: ClassVar[Mapping[str, str]] = {}
    units: ClassVar[Mapping[str, str]] = {}
    worst_rule: ClassVar[str] = ""

    def __call__(self, predictions: Any, dataset: Any) -> dict[str, float]:
        """Named values, in percent.

        Args:
            predictions: what the task predicts for every image, in the order of the data set.
            dataset: the test set, for labels and protocol.
        """
        raise NotImplementedError

    def with_intervals(self, predictions: Any, dataset: Any) -> tuple[dict[str, float], dict[str, Interval]]:
        """The values, and 95 % intervals over the images of those that have one here; arguments as for a call.

        Values that are means of scores (:meth:`scores`) get theirs from these.
        """
        return self(predictions, dataset), {}

    def harm(self, predictions: Any, dataset: Any) -> Sequence[Any] | None:
        """How little is left of each image, numbers or tuples that can be compared; None where images do not tell.

        Of several columns the smallest one harms an image most; their predictions make the worst case.

        Args:
            predictions: what the task predicts for every image, in the order of the data set.
            dataset: the test set.
        """
        return None

    def alarms(self, predictions: Any, dataset: Any) -> Tensor | None:
        """False alarms of each image, float64 ``[N]``; None where there is no such thing. Arguments as for a call."""
        return None

    def scores(self, predictions: Any, dataset: Any) -> dict[str, Tensor] | None:
        """What each query adds to the values of a cell, float64 ``[Q]`` by value; None where there are no queries.

        A value is the mean of its scores, and a query's score depends on that query alone as long as an attack leaves
        the gallery as it is: then a query has a worst case over attacks, as an image has.

        Args:
            predictions: what the task predicts for every image, in the order of the data set.
            dataset: the test set.
        """
        return None

    def groups(self, dataset: Any) -> Tensor | None:
        """Which of the queries that :meth:`scores` scores belong together (those of one person), int64 ``[Q]``.

        Intervals and tests take such queries together. None where each is one by itself.
        """
        return None

    def chance(self, dataset: Any) -> dict[str, float] | None:
        """What predictions at random give on average, named values in percent; None where the metric does not say."""
        return None

    def notes(self, dataset: Any, predictions: Any) -> list[str]:
        """Remarks that belong in a report (images left out, ...), given the clean predictions of every image."""
        return []

    def attackable(self, dataset: Any) -> Tensor | None:
        """Which images have something that an attack could take from the model, bool ``[N]``; None for all.

        The others are not attacked.
        """
        return None

    def fooled(self, clean: Any, attacked: Any, *, dataset: Any) -> tuple[Tensor, Tensor] | None:
        """On which images an attack succeeded; None where an image by itself does not tell (retrieval).

        Args:
            clean: predictions of every image without attack.
            attacked: the same under the attack.
            dataset: the test set.

        Returns:
            Which images had something to lose without attack, and which of these lost some of it; bool ``[N]`` each.
        """
        return None

    def draw(
        self, path: Path, dataset: Any, *, positions: Sequence[int], columns: dict[str, tuple[Any, Sequence[Tensor]]]
    ) -> bool:
        """Draw a picture to look at; False where a metric has none.

        Args:
            path: where to write the picture (PNG).
            dataset: the test set.
            positions: of the images to draw.
            columns: per column the predictions of every image of the set, and the drawn images' pixels in [0,1], each
                ``[C, H, W]``; clean, and under an attack.
        """
        return False
