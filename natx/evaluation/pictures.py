"""Pictures: a few images before and after each attack."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from natx.evaluation.metric import Metric
from natx.evaluation.predictions import replaced, taken
from natx.evaluation.robust import CLEAN

SIGNS = {"+": "plus", "-": "minus"}
SIGN = re.compile(r"(?<![^\s(])[+-](?=\w)")  # before a word or a number, and no hyphen between two
LONGEST = 80  # letters of a file's name that an attack's name may take


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
        found, pixels = self.columns[attack]
        return {
            CLEAN: (self.predictions, self.columns[CLEAN][1]),
            attack: (replaced(self.predictions, self.positions, found), pixels),
        }


def draw_pictures(folder: Path, dataset: Any, metric: Metric, *, examples: Examples) -> dict[str, str]:
    """Draw a picture for each attack, as far as the metric draws any; file names in ``folder`` by attack."""
    written = {}
    for attack, name in file_names(list(examples.columns)[1:]).items():
        columns = examples.before_and_after(attack)
        if metric.draw(folder / name, dataset, positions=examples.positions, columns=columns):
            written[attack] = name
    return written


def file_names(attacks: Iterable[str]) -> dict[str, str]:
    """A picture's file name for each attack: ``examples-SMA-8-255.png`` for SMA 8/255.

    Names that :func:`plain_name` makes the same, or that differ in upper and lower case only, get a number.
    """
    names: dict[str, str] = {}
    used: set[str] = set()
    for attack in attacks:
        plain = plain_name(attack)
        name, number = plain, 1
        while name.casefold() in used:
            number += 1
            name = f"{plain}-{number}"
        used.add(name.casefold())
        names[attack] = f"examples-{name}.png"
    return names


def plain_name(attack: str) -> str:
    """An attack's name for a file or a folder: ``SMA-8-255``; a sign before a word is spelt out, ``APGD-plus-w``."""
    spelt = SIGN.sub(lambda sign: f"{SIGNS[sign[0]]}-", attack)
    return re.sub(r"[^\w.]+", "-", spelt)[:LONGEST].strip("-.") or "attack"
