"""Summaries over seeds: mean and standard deviation of several reports, never the best seed."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from natx.report.cells import NOT_RUN, WORST, cell_values, column_names, paper_cells

Report = dict[str, Any]
Printed = dict[str, Any]


@dataclass
class Beside:
    """A column of text between a summary's rows and their numbers.

    Attributes:
        title: its heading.
        cells: the text of each row.
    """

    title: str
    cells: dict[str, str] = field(default_factory=dict)


def mean_and_deviation(values: Sequence[float]) -> str:
    """``52.30 ± 0.40`` (sample standard deviation); the value alone for a single one."""
    mean = statistics.fmean(values)
    return f"{mean:.2f} ± {statistics.stdev(values):.2f}" if len(values) > 1 else f"{mean:.2f}"


def with_average(report: Report, columns: Sequence[str], *, name: str) -> Report:
    """The report of a classifier with a further column: the mean of some of its columns, if it has them all."""
    values = cell_values(report, columns)
    if None in values or "cell" in report:
        return report
    mean = statistics.fmean(cell[0] for cell in values)
    return {**report, "columns": [*report["columns"], {"name": name, "accuracy": mean}]}


def summary_table(
    rows: dict[str, Sequence[Report | None] | str],
    *,
    names: Sequence[str] = (),
    paper: dict[str, Printed | Sequence[Printed]] | None = None,
    beside: Beside | None = None,
) -> str:
    """A Markdown table: one row a name, each cell the mean and deviation over that name's reports.

    Args:
        rows: reports by row. A missing report (None) counts as not run: a row prints how many of its seeds have one.
            A text instead of reports says why there are none; such a row has its paper's lines alone, and that text.
        names: columns to print even where no report has them.
        paper: the paper's line, or lines, (``name`` and ``cells``) to print beneath some rows.
        beside: a column of text before the numbers.
    """
    known = [report for reports in rows.values() if not isinstance(reports, str) for report in reports if report]
    names = list(dict.fromkeys([*names, *(column_names(known) if known else ())])) or [WORST]
    extra = [] if beside is None else [beside.title]
    lines = ["| " + " | ".join(["", "seeds", *extra, *names]).lstrip() + " |"]
    lines.append("|---|---:|" + "---:|" * (len(extra) + len(names)))
    for row, reports in rows.items():
        printed = (paper or {}).get(row, ())
        printed = [printed] if isinstance(printed, dict) else printed
        if isinstance(reports, str):
            lines += [_paper_line(line, names, seeds=reports, blank=extra) for line in printed]
            continue
        present = [report for report in reports if report is not None]
        values = [NOT_RUN] * len(names)
        if present:
            values = [_cell(column) for column in zip(*(cell_values(report, names) for report in present))]
        told = [] if beside is None else [beside.cells.get(row, "")]
        lines.append("| " + " | ".join([row, str(len(present)), *told, *values]) + " |")
        lines += [_paper_line(line, names, seeds="", blank=extra) for line in printed]
    return "\n".join(lines)


def _paper_line(paper: Printed, names: Sequence[str], *, seeds: str, blank: Sequence[str]) -> str:
    """A line with what a paper printed; ``seeds`` is in place of their number."""
    start = f"| {paper['name']} | {seeds}".rstrip() + " |" + " |" * len(blank)
    return f"{start} " + " | ".join(paper_cells(paper, names)) + " |"


def _cell(column: Sequence[list[float] | None]) -> str:
    """One cell from its numbers in every report: ``52.30 ± 0.40``, or ``68.92 ± 0.10/88.25 ± 0.20``."""
    if any(cell is None for cell in column):
        return NOT_RUN
    return "/".join(mean_and_deviation(values) for values in zip(*column))
