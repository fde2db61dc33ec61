"""How many seeds and images it would take to see the differences that a table shows."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from natx.evaluation.robust import CLEAN
from natx.evaluation.statistics import LEVEL, POWER, images_needed, seeds_needed
from natx.report.cells import WORST, column_names, report_cells
from natx.report.paired import images_of, outcomes_of
from natx.report.tables import Table, TableRow

Report = dict[str, Any]
SEEDS_MOST, IMAGES_MOST = 1_000, 1_000_000  # beyond these a number says nothing more


def needed_table(rows: Mapping[str, Sequence[Report]]) -> Table | None:
    """Each row against the highest one in the headline; None for fewer than two rows that have it.

    Seeds: by the power of a t test, with the deviation over the seeds that there are. Images: by the power of
    McNemar's test, with the share of images on which the two differ where outcomes are known, and else with the
    smallest that there can be, which is too few.

    Args:
        rows: reports by row, one a seed.
    """
    if (column := headline(rows)) is None:
        return None
    values = {
        name: [cells[column][0] for cells in map(report_cells, reports) if column in cells]
        for name, reports in rows.items()
    }
    means = {name: statistics.fmean(numbers) for name, numbers in values.items() if numbers}
    if len(means) < 2:
        return None
    single = all("cell" not in report for reports in rows.values() for report in reports)
    best = max(means, key=means.__getitem__)
    lines = []
    for name, mean in means.items():
        if name == best:
            continue
        gap, deviation = mean - means[best], _pooled(values[name], values[best])
        apart = discordant_share(rows[name], rows[best], column)
        cells = [name, f"{gap:+.2f}", "" if deviation is None else f"{deviation:.2f}", _seeds(gap, deviation)]
        lines.append(TableRow([*cells, *([_images(gap, apart)] if single else [])]))
    head = [
        f"against {best}",
        f"{column}, difference",
        "deviation over seeds",
        "seeds",
        *(["images"] if single else []),
    ]
    caption = (
        f"What it takes to see these differences with a probability of {POWER:.0%} at a level of {LEVEL:.0%}: seeds of "
        "each row on these images, or images for one training of each"
    ).replace("%", " %")
    return Table(head, lines, caption=caption)


def headline(rows: Mapping[str, Sequence[Report]]) -> str | None:
    """The column to compare by: the worst case, or of a set the attack that leaves least on average."""
    reports = [report for several in rows.values() for report in several]
    names = column_names(reports) if reports else []
    if WORST in names:
        return WORST
    shared = [n for n in names if n != CLEAN and all(n in report_cells(report) for report in reports)]
    return min(shared, key=lambda n: sum(report_cells(report)[n][0] for report in reports), default=None)


def discordant_share(first: Sequence[Report], second: Sequence[Report], column: str) -> float | None:
    """On how many of the images (%) two rows' outcomes differ, in the mean over all pairs of runs; None if unknown."""
    shares = []
    for one in first:
        for other in second:
            right, theirs = outcomes_of(one, column), outcomes_of(other, column)
            images = [images_of(report, column) for report in (one, other)]
            if right is not None and theirs is not None and images[0] == images[1] is not None:
                shares.append(100 * float((right != theirs).double().mean()))
    return statistics.fmean(shares) if shares else None


def _pooled(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Standard deviation over the seeds of two rows together; None where one has a single seed."""
    if min(len(first), len(second)) < 2:
        return None
    return math.sqrt((statistics.variance(first) + statistics.variance(second)) / 2)


def _seeds(gap: float, deviation: float | None) -> str:
    if deviation is None:
        return "unknown: one seed"
    if gap == 0:
        return "no difference"
    count = seeds_needed(gap, deviation)
    return f"over {SEEDS_MOST:,}" if count is None or count > SEEDS_MOST else f"{count}"


def _images(gap: float, apart: float | None) -> str:
    if gap == 0:
        return "no difference"
    count = images_needed(gap, discordant=None if apart is None else max(apart, abs(gap)))
    if count > IMAGES_MOST:
        return f"over {IMAGES_MOST:,}"
    return f"{count:,}" if apart is not None else f"at least {count:,}"
