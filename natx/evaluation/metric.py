"""Metric: numbers for a whole set, where no image by itself is right or wrong (retrieval, detection)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar


class Metric:
    """Values of a test set from the predictions of all its images.

    Attributes:
        cell: names of the values that make a table's cell, in order; the first one selects checkpoints.
    """

    cell: ClassVar[tuple[str, ...]]

    def __call__(self, predictions: Any, dataset: Any) -> dict[str, float]:
        """Named values, in percent.

        Args:
            predictions: what the task predicts for every image, in the order of the data set.
            dataset: the test set, for labels and protocol.
        """
        raise NotImplementedError

    def notes(self, dataset: Any) -> list[str]:
        """Remarks about the set that belong in a report (images left out, ...)."""
        return []

    def draw(self, path: Path, dataset: Any, columns: dict[str, tuple[Any, Any]]) -> bool:
        """Draw a picture to look at; False where a metric has none.

        Args:
            path: where to write the picture (PNG).
            dataset: the test set.
            columns: per column the predictions and, for the first attacked images, their pixels ``[n, C, H, W]``.
        """
        return False
