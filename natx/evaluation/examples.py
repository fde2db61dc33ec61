"""Examples: what pictures show of an evaluation of a whole set."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from natx.evaluation.predictions import replaced, taken
from natx.evaluation.robust import CLEAN


@dataclass
class Examples:
    """What pictures show of an evaluation: of each attack only the predictions and the pixels of a few images.

    Attributes:
        positions: of the images in the data set.
        predictions: clean predictions of all images.
        columns: per column the images' predictions, and their pixels in [0,1] ``[C, H, W]``, which may differ in size
            where batches are padded; the first column is clean.
    """

    positions: list[int]
    predictions: Any
    columns: dict[str, tuple[Any, list[Tensor]]] = field(default_factory=dict)

    def add(self, column: str, predictions: Any, pixels: list[Tensor]) -> None:
        """Keep a column's, of which ``predictions`` are all images' and ``pixels`` the examples' own."""
        self.columns[column] = (taken(predictions, self.positions), pixels)

    def before_and_after(self, attack: str) -> dict[str, tuple[Any, list[Tensor]]]:
        """The clean column and an attack's as :meth:`Metric.draw` takes them; other images are predicted clean."""
        attacked, pixels = self.columns[attack]
        return {
            CLEAN: (self.predictions, self.columns[CLEAN][1]),
            attack: (replaced(self.predictions, self.positions, attacked), pixels),
        }
