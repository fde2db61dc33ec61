"""Summaries over seeds: mean and standard deviation of several reports, never the best seed."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from natx.evaluation.report import NOT_RUN, WORST, cell_values, column_names, paper_cells

Report = dict[str, Any]


def mean_and_deviation(values: Sequence[float]) -> str:
    """``52.30 ± 0.40`` (sample standard deviation); the value alone for a single one."""
    mean = statistics.fmean(values)
    return f"{mean:.2f} ± {statistics.stdev(values):.2f}" if len(values) > 1 else f"{mean:.2f}"


def summary_table(
    rows: dict[str, Sequence[Report | None]],
    *,
    names: Sequence[str] = (),
    paper: dict[str, dict[str, Any]] | None = None,
) -> str:
    """A Markdown table: one row a name, each cell the mean and deviation over that name's reports.

    Args:
        rows: reports by row. A missing report (None) counts as not run: a row prints how many of its seeds have one.
        names: columns to print even where no report has them.
        paper: the paper's row (``name`` and ``cells``) to print beneath some rows.
    """
    known = [report for reports in rows.values() for report in reports if report is not None]
    names = list(dict.fromkeys([*names, *(column_names(known) if known else ())])) or [WORST]
    lines = ["| | seeds | " + " | ".join(names) + " |", "|---|---:|" + "---:|" * len(names)]
    for row, reports in rows.items():
        present = [report for report in reports if report is not None]
        values = [NOT_RUN] * len(names)
        if present:
            values = [_cell(column) for column in zip(*(cell_values(report, names) for report in present))]
        lines.append(f"| {row} | {len(present)} | " + " | ".join(values) + " |")
        if paper and row in paper:
            lines.append(f"| {paper[row]['name']} | | " + " | ".join(paper_cells(paper[row], names)) + " |")
    return "\n".join(lines)


def _cell(column: Sequence[list[float] | None]) -> str:
    """One cell from its numbers in every report: ``52.30 ± 0.40``, or ``68.92 ± 0.10/88.25 ± 0.20``."""
    if any(cell is None for cell in column):
        return NOT_RUN
    return "/".join(mean_and_deviation(values) for values in zip(*column))
