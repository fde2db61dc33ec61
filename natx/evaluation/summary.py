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


def summary_table(rows: dict[str, Sequence[Report | None]]) -> str:
    """A Markdown table: one row a name, each cell the mean and deviation over that name's reports.

    A missing report (None) counts as not run: a row prints how many of its seeds have one. The paper's row follows
    where the reports have one.
    """
    known = [report for reports in rows.values() for report in reports if report is not None]
    names = column_names(known) if known else [WORST]
    lines = ["| | seeds | " + " | ".join(names) + " |", "|---|---:|" + "---:|" * len(names)]
    for row, reports in rows.items():
        present = [report for report in reports if report is not None]
        if not present:
            lines.append(f"| {row} | 0 | " + " | ".join([NOT_RUN] * len(names)) + " |")
            continue
        values = [_cell(column) for column in zip(*(cell_values(report, names) for report in present))]
        lines.append(f"| {row} | {len(present)} | " + " | ".join(values) + " |")
        if "paper" in present[0]:
            lines.append(f"| {present[0]['paper']['name']} | | " + " | ".join(paper_cells(present[0], names)) + " |")
    return "\n".join(lines)


def _cell(column: Sequence[list[float] | None]) -> str:
    """One cell from its numbers in every report: ``52.30 ± 0.40``, or ``68.92 ± 0.10/88.25 ± 0.20``."""
    if any(cell is None for cell in column):
        return NOT_RUN
    return "/".join(mean_and_deviation(values) for values in zip(*column))
