"""Rows of a table on the same images: is one right where the other is wrong more often than chance would have it?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from natx.evaluation.outcomes import unpacked
from natx.evaluation.statistics import mcnemar
from natx.report.cells import WORST
from natx.report.tables import Table, TableRow

Report = dict[str, Any]
EXPLANATION = (
    "A cell is the row's {column} less the column's in points, and the p-value of McNemar's exact test on the {images} "
    "images, after Holm's correction for the {pairs} pairs; below 0.05 the two differ on images like these. With "
    "several seeds an image counts for the row that more seeds get it right in (the sign test). How much another "
    "training would give is not asked here: the deviation over the seeds says that"
)


def paired_table(rows: Mapping[str, Sequence[Report]], *, column: str = WORST) -> Table | None:
    """Every row against every other in one column; None where fewer than two rows have outcomes of the same images.

    Args:
        rows: reports by row, one a seed.
        column: the column whose outcomes are compared.
    """
    outcomes = {name: by_seed for name, reports in rows.items() if (by_seed := _by_seed(reports, column))}
    pairs = {}
    for first, second in combinations(outcomes, 2):
        shared = sorted(outcomes[first].keys() & outcomes[second].keys())
        if shared:
            pairs[second, first] = [(outcomes[second][key], outcomes[first][key]) for key in shared]
    if not pairs:
        return None
    tests = {names: paired_test(runs) for names, runs in pairs.items()}
    adjusted = dict(zip(tests, holm([p for _, p in tests.values()])))
    cells = {names: f"{points:+.2f}, p {adjusted[names]:.2g}" for names, (points, _) in tests.items()}
    names = list(dict.fromkeys(name for first, second in pairs for name in (second, first)))
    lines = [TableRow([row, *(cells.get((row, other), "") for other in names[:-1])]) for row in names[1:]]
    images = len(next(iter(pairs.values()))[0][0])
    caption = EXPLANATION.format(column=column[:1].lower() + column[1:], images=images, pairs=len(pairs))
    return Table(["", *names[:-1]], lines, caption=caption)


def holm(values: Sequence[float]) -> list[float]:
    """p-values that hold for all together at one level, in the same order.

    Source: Holm 1979, step-down: the k-th smallest of m times m - k + 1, never below a smaller one's, at most 1.
    """
    adjusted, largest = [1.0] * len(values), 0.0
    for rank, place in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        largest = max(largest, min(1.0, (len(values) - rank) * values[place]))
        adjusted[place] = largest
    return adjusted


def _by_seed(reports: Sequence[Report], column: str) -> dict[tuple[str, str], Tensor]:
    """Outcomes of the reports that have them, by their images and the training's seed."""
    outcomes: dict[tuple[str, str], Tensor] = {}
    for report in reports:
        images = images_of(report, column)
        right = outcomes_of(report, column)
        if images is not None and right is not None:
            outcomes[images, str(report["settings"].get("training_seed"))] = right
    return outcomes


def images_of(report: Report, column: str) -> str | None:
    """Which images a column was measured on: its own, where a report's columns differ in them."""
    entry: dict[str, Any] = next((entry for entry in report["columns"] if entry["name"] == column), {})
    return entry.get("fingerprint") or report.get("settings", {}).get("images_fingerprint")


def outcomes_of(report: Report, column: str) -> Tensor | None:
    """Which images a column gets right, bool ``[N]``; None where a report does not say."""
    if column == WORST:
        text, images = report.get("worst_case_outcomes"), report.get("images")
    else:
        entry: dict[str, Any] = next((entry for entry in report["columns"] if entry["name"] == column), {})
        text, images = entry.get("outcomes"), entry.get("images")
    return None if text is None or images is None else unpacked(text, images)


def paired_runs(first: Sequence[Report], second: Sequence[Report], column: str) -> list[tuple[Tensor, Tensor]]:
    """Outcomes of two rows in a column, pair by pair of trainings with the same seed on the same images."""
    one, other = _by_seed(first, column), _by_seed(second, column)
    return [(one[key], other[key]) for key in sorted(one.keys() & other.keys())]


def paired_test(runs: Sequence[tuple[Tensor, Tensor]]) -> tuple[float, float]:
    """Difference of the accuracies in points, and the p-value over the images, of pairs of runs of the same seeds."""
    gap = torch.stack([first.int() - second.int() for first, second in runs]).sum(0)
    points = 100 * float(gap.double().mean()) / len(runs)
    return points, mcnemar(int((gap > 0).sum()), int((gap < 0).sum()))
