"""Summaries over seeds: mean and standard deviation of several reports, never the best seed."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from natx.report.cells import (
    NOT_APPLICABLE,
    NOT_RUN,
    WORST,
    absent,
    cell_values,
    column_names,
    paper_cells,
    report_cells,
)
from natx.report.intervals import INTERVAL, interval_cells
from natx.report.tables import Table, TableRow

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
    values = report_cells(report)
    if "cell" in report or not all(column in values for column in columns):
        return report
    mean = statistics.fmean(values[column][0] for column in columns)
    return {**report, "columns": [*report["columns"], {"name": name, "accuracy": mean}]}


def summary_table(
    rows: Mapping[str, Sequence[Report | None] | str],
    *,
    names: Sequence[str] = (),
    paper: Mapping[str, Printed | Sequence[Printed]] | None = None,
    beside: Sequence[Beside] = (),
    caption: str = "",
) -> Table:
    """One row a name, each cell the mean and deviation over that name's reports; one report alone has its intervals.

    Args:
        rows: reports by row. A missing report (None) counts as not run: a row prints how many of its seeds have one.
            A text instead of reports says why there are none; such a row has its paper's lines alone, and that text.
        names: columns to print even where no report has them.
        paper: the paper's line, or lines, (``name`` and ``cells``) to print beneath some rows.
        beside: columns of text before the numbers.
        caption: what the table shows, for pages.
    """
    present = [report for reports in rows.values() if not isinstance(reports, str) for report in reports if report]
    names = list(dict.fromkeys([*names, *(column_names(present) if present else ())])) or [WORST]
    lines = []
    for row, reports in rows.items():
        printed = (paper or {}).get(row, ())
        printed = [printed] if isinstance(printed, dict) else printed
        count = reports if isinstance(reports, str) else ""
        if not isinstance(reports, str):
            cells = [column.cells.get(row, "") for column in beside] + _cells(reports, names)
            lines.append(TableRow([row, str(sum(report is not None for report in reports)), *cells], "training"))
            lines += _interval_row(reports, names, blank=1 + len(beside))
        for line in printed:
            lines.append(TableRow([line["name"], count, *([""] * len(beside)), *paper_cells(line, names)], "part"))
    return Table(["", "seeds", *(column.title for column in beside), *names], lines, caption=caption)


def _interval_row(reports: Sequence[Report | None], names: Sequence[str], *, blank: int) -> list[TableRow]:
    """The intervals of a row with one report; several have a deviation, and their intervals where each is listed."""
    present = [report for report in reports if report is not None]
    intervals = interval_cells(present[0], names) if len(present) == 1 else []
    return [TableRow([INTERVAL, *([""] * blank), *intervals], "interval")] if any(intervals) else []


def _cells(reports: Sequence[Report | None], names: Sequence[str]) -> list[str]:
    """A row's cells over the reports that there are."""
    present = [report for report in reports if report is not None]
    return [_cell(present, name) for name in names] if present else [NOT_RUN] * len(names)


def _cell(reports: Sequence[Report], name: str) -> str:
    """One cell from its numbers in every report: ``52.30 ± 0.40``, or ``68.92 ± 0.10/88.25 ± 0.20``; else why not.

    Where only some have the column, it says of how many seeds the numbers are.
    """
    cells = {number: cell_values(report, [name])[0] for number, report in enumerate(reports)}
    values = [cell for cell in cells.values() if cell is not None]
    if not values:
        reasons = {absent(report, name) for report in reports}
        return NOT_APPLICABLE if reasons == {NOT_APPLICABLE} else NOT_RUN
    text = "/".join(mean_and_deviation(value) for value in zip(*values))
    return text if len(values) == len(reports) else f"{text} ({len(values)} of {len(reports)} seeds)"
