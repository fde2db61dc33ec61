"""Pictures: a few images before and after each attack."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from natx.evaluation.examples import Examples
from natx.evaluation.metric import Metric
from natx.runtime.files import plain_name


def draw_pictures(folder: Path, dataset: Any, metric: Metric, *, examples: Examples) -> dict[str, str]:
    """Draw a picture for each attack, as far as the metric draws any; file names in ``folder`` by attack."""
    written = {}
    for attack, name in file_names(list(examples.columns)[1:]).items():
        columns: dict[str, tuple[Any, Sequence[Tensor]]] = {**examples.before_and_after(attack)}
        if metric.draw(folder / name, dataset, positions=examples.positions, columns=columns):
            written[attack] = name
    return written


def drawn(text: str) -> str:
    """A name as matplotlib takes it to draw it as it is: ``$`` begins no formula, and no legend leaves it out.

    Legends pass over labels that begin with an underscore.
    """
    plain = text.replace("$", r"\$")
    return rf"$\_${plain[1:]}" if plain.startswith("_") else plain


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
