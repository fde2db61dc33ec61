"""Summaries over seeds: mean and standard deviation of several reports, never the best seed."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from natx.evaluation.report import WORST, cells, column_names

Report = dict[str, Any]


def mean_and_deviation(values: Sequence[float]) -> str:
    """``52.30 ± 0.40`` (sample standard deviation); the value alone for a single one."""
    mean = statistics.fmean(values)
    return f"{mean:.2f} ± {statistics.stdev(values):.2f}" if len(values) > 1 else f"{mean:.2f}"


def summary_table(rows: dict[str, Sequence[Report | None]]) -> str:
    """A Markdown table: one row a name, each cell the mean and deviation over that name's reports.

    A missing report (None) counts as not run: a row prints how many of its seeds have one.
    """
    known = [report for reports in rows.values() for report in reports if report is not None]
    names = column_names(known) if known else [WORST]
    lines = ["| | seeds | " + " | ".join(names) + " |", "|---|---:|" + "---:|" * len(names)]
    for row, reports in rows.items():
        present = [report for report in reports if report is not None]
        if not present:
            lines.append(f"| {row} | 0 | " + " | ".join(["not run"] * len(names)) + " |")
            continue
        values = []
        for column in zip(*(cells(report, names) for report in present)):
            values.append("not run" if "not run" in column else mean_and_deviation([float(v) for v in column]))
        lines.append(f"| {row} | {len(present)} | " + " | ".join(values) + " |")
    return "\n".join(lines)
