"""Rows of a table on the same images: is one better on them more often than chance would have it?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from natx.evaluation.groups import group_sums
from natx.evaluation.outcomes import unpacked
from natx.evaluation.statistics import LEVEL, mcnemar, mean_interval, sign_flips
from natx.report.cells import WORST
from natx.report.tables import Table, TableRow

Report = dict[str, Any]
IMAGES = (
    "A cell is the row's {column} less the column's in points, and the p-value of McNemar's exact test on the {images} "
    "images, after Holm's correction for the {pairs} pairs; below 0.05 the two differ on images like these. With "
    "several seeds an image counts for the row that more seeds get it right in (the sign test). How much another "
    "training would give is not asked here: the deviation over the seeds says that"
)
QUERIES = (
    "A cell is the row's {column} less the column's in points of {value}, and the p-value of a paired permutation test "
    "(signs of the differences of {units} flipped; their means over the seeds), after Holm's correction "
    "for the {pairs} pairs; below 0.05 the two differ on queries like these. How much another training would give is "
    "not asked here: the deviation over the seeds says that"
)


def paired_table(rows: Mapping[str, Sequence[Report]], *, column: str = WORST) -> Table | None:
    """Every row against every other in one column; None where fewer than two rows have outcomes of the same images.

    Args:
        rows: reports by row, one a seed.
        column: the column whose outcomes are compared.
    """
    pairs, groups = _pairs(rows, column), query_groups([report for some in rows.values() for report in some], column)
    if not pairs:
        return None
    cells = {names: f"{points:+.2f}, p {p:.2g}" for names, (points, p) in _tested(pairs, groups).items()}
    names = [name for name in rows if any(name in pair for pair in pairs)]  # a pair's first is the later of its rows
    lines = [TableRow([row, *(cells.get((row, other), "") for other in names[:-1])]) for row in names[1:]]
    shown = next(iter(pairs.values()))[0][0]
    value = next(report["cell"][0] for reports in rows.values() for report in reports) if _scored(shown) else ""
    text = QUERIES if _scored(shown) else IMAGES
    caption = text.format(
        column=column[:1].lower() + column[1:],
        images=len(shown),
        units=units(len(shown), groups),
        pairs=len(pairs),
        value=value,
    )
    caption += _shared_seeds(rows, pairs, column)
    return Table(["", *names[:-1]], lines, caption=caption)


def findings(rows: Mapping[str, Sequence[Report]], *, column: str = WORST) -> list[str]:
    """What pairs of rankings show, a sentence a row: how far it is above or below the first row, and the highest row.

    Nothing for reports without queries, and for fewer than two rows.

    Args:
        rows: reports by row, one a seed; the first is what the others are held against.
        column: the column that is compared.
    """
    pairs, groups = _pairs(rows, column), query_groups([report for some in rows.values() for report in some], column)
    if not pairs or not _scored(next(iter(pairs.values()))[0][0]):
        return []
    tests = _tested(pairs, groups)
    first = next(other for _, other in tests)

    def verdict(p: float) -> str:
        return f"p {p:.2g}, {'beyond' if p < LEVEL else 'not beyond'} chance"

    def ends(row: str) -> str:
        low, high = mean_interval(_mean_gaps(pairs[row, first]), groups=groups)
        return f"{low:+.2f} to {high:+.2f}"

    lines = [
        f"{row} against {first}: {points:+.2f} points ({ends(row)}) in the {column[:1].lower()}{column[1:]} "
        f"({verdict(p)})"
        for (row, other), (points, p) in tests.items()
        if other == first
    ]
    gaps = {first: 0.0, **{row: points for (row, other), (points, _) in tests.items() if other == first}}
    best = max(gaps, key=gaps.__getitem__)
    # A row that shares no seed with another is held against it nowhere.
    others = [name for name in rows if name != best and any(name in pair for pair in tests)]
    against = {row: tests.get((best, row), tests.get((row, best), (0.0, 1.0)))[1] for row in others}
    level = [row for row, p in against.items() if p >= LEVEL]
    alone = "beyond chance above every other row" if not level else f"not told apart from {', '.join(level)}"
    shared = _shared_seeds(rows, pairs, column)[2:]
    return [*lines, f"the highest row is {best}, {alone}", *([shared[:1].lower() + shared[1:]] if shared else [])]


def _pairs(rows: Mapping[str, Sequence[Report]], column: str) -> dict[tuple[str, str], list[tuple[Tensor, Tensor]]]:
    """Outcomes of each row and of one before it, of the seeds that both have."""
    outcomes = {name: by_seed for name, reports in rows.items() if (by_seed := _by_seed(reports, column))}
    pairs = {}
    for first, second in combinations(outcomes, 2):
        shared = sorted(outcomes[first].keys() & outcomes[second].keys())
        if shared:
            pairs[second, first] = [(outcomes[second][key], outcomes[first][key]) for key in shared]
    return pairs


def _shared_seeds(
    rows: Mapping[str, Sequence[Report]], pairs: Mapping[tuple[str, str], Sequence[Any]], column: str
) -> str:
    """A sentence to go on with where some pair leaves out seeds of one of its rows; empty where none does."""
    counts = {name: len(_by_seed(reports, column)) for name, reports in rows.items()}
    whole = all(counts[one] == counts[other] == len(runs) for (one, other), runs in pairs.items())
    return "" if whole else ". Rows with other seeds are compared on those that both have, whatever their means are of"


def _tested(
    pairs: Mapping[tuple[str, str], list[tuple[Tensor, Tensor]]], groups: Sequence[int] | None
) -> dict[tuple[str, str], tuple[float, float]]:
    """Difference in points and p-value after Holm's correction of each pair."""
    tests = {names: paired_test(runs, groups) for names, runs in pairs.items()}
    adjusted = holm([p for _, p in tests.values()])
    return {names: (points, p) for (names, (points, _)), p in zip(tests.items(), adjusted)}


def holm(values: Sequence[float]) -> list[float]:
    """p-values that hold for all together at one level, in the same order.

    Source: Holm 1979, step-down: the k-th smallest of m times m - k + 1, never below a smaller one's, at most 1.
    """
    adjusted, largest = [1.0] * len(values), 0.0
    for rank, place in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        largest = max(largest, min(1.0, (len(values) - rank) * values[place]))
        adjusted[place] = largest
    return adjusted


def _by_seed(reports: Sequence[Report], column: str) -> dict[tuple[str, str, int], Tensor]:
    """Outcomes or scores of the reports that have them, by their images, the training's seed, and which of these it is.

    Several reports of a row say the same seed where their checkpoints do not tell it.
    """
    outcomes: dict[tuple[str, str, int], Tensor] = {}
    for report in reports:
        images = images_of(report, column)
        right = scores_of(report, column) if "cell" in report else outcomes_of(report, column)
        if images is not None and right is not None:
            seed = str(report["settings"].get("training_seed"))
            before = sum(key[:2] == (images, seed) for key in outcomes)
            outcomes[images, seed, before] = right
    return outcomes


def images_of(report: Report, column: str) -> str | None:
    """Which images a column was measured on: its own, where a report's columns differ in them."""
    entry: dict[str, Any] = next(iter(_entries(report, column)), {})
    return entry.get("fingerprint") or report.get("settings", {}).get("images_fingerprint")


def outcomes_of(report: Report, column: str) -> Tensor | None:
    """Which images a column gets right, bool ``[N]``; None where a report does not say."""
    if column == WORST:
        text, images = report.get("worst_case_outcomes"), report.get("images")
    else:
        entry: dict[str, Any] = next(iter(_entries(report, column)), {})
        text, images = entry.get("outcomes"), entry.get("images")
    return None if text is None or images is None else unpacked(text, images)


def scores_of(report: Report, column: str) -> Tensor | None:
    """What a column leaves each query of the first value of a cell (%), float64 ``[Q]``; None without queries."""
    if column == WORST:
        scores = report.get("worst_case_scores")
    else:
        scores = next((entry.get("scores") for entry in _entries(report, column)), None)
    return None if scores is None else torch.tensor(scores[report["cell"][0]], dtype=torch.float64)


def query_groups(reports: Sequence[Report], column: str) -> list[int] | None:
    """Which queries of a column belong together, of reports on the same queries; None where none says so."""
    entries = (entry for report in reports for entry in (*_entries(report, column), report))
    return next((entry["query_groups"] for entry in entries if "query_groups" in entry), None)


def _entries(report: Report, column: str) -> list[dict[str, Any]]:
    return [entry for entry in report["columns"] if entry["name"] == column]


def units(queries: int, groups: Sequence[int] | None) -> str:
    """What a paired test draws, in words."""
    return (
        f"the {queries} queries" if groups is None else f"the {len(set(groups))} people, whose queries stay together,"
    )


def _scored(values: Tensor) -> bool:
    """Whether values are scores of queries, and not outcomes of images."""
    return values.is_floating_point()


def _mean_gaps(runs: Sequence[tuple[Tensor, Tensor]]) -> list[float]:
    """The difference of each query's scores, the mean over the seeds."""
    return torch.stack([first - second for first, second in runs]).mean(0).tolist()


def paired_runs(first: Sequence[Report], second: Sequence[Report], column: str) -> list[tuple[Tensor, Tensor]]:
    """Outcomes or scores of two rows in a column, pair by pair of trainings with the same seed on the same images."""
    one, other = _by_seed(first, column), _by_seed(second, column)
    return [(one[key], other[key]) for key in sorted(one.keys() & other.keys())]


def paired_test(runs: Sequence[tuple[Tensor, Tensor]], groups: Sequence[int] | None = None) -> tuple[float, float]:
    """Difference in points, and the p-value over images or queries, of pairs of runs of the same seeds.

    Args:
        runs: outcomes of images or scores of queries of both sides.
        groups: which queries belong together, see :func:`query_groups`; None where each is one by itself.
    """
    if _scored(runs[0][0]):
        gaps = _mean_gaps(runs)
        return sum(gaps) / len(gaps), sign_flips(group_sums(gaps, groups)[0].tolist())
    gap = torch.stack([first.int() - second.int() for first, second in runs]).sum(0)
    points = 100 * float(gap.double().mean()) / len(runs)
    return points, mcnemar(int((gap > 0).sum()), int((gap < 0).sum()))
