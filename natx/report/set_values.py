"""Every value of a set's metric under every attack, row by row: what attacks did, and not only how much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from natx.report.cells import OUTCOMES, WORST
from natx.report.intervals import set_intervals
from natx.report.summary import mean_and_deviation
from natx.report.tables import Table, TableRow

Report = dict[str, Any]


def set_values_table(rows: Mapping[str, Sequence[Report]]) -> Table | None:
    """A line a row and column, each cell the mean and deviation over the row's reports; one report has its intervals.

    Args:
        rows: reports by row.

    Returns:
        None where no report says what its values mean (:attr:`natx.evaluation.metric.Metric.meanings`).
    """
    shown = {name: [report for report in reports if "meanings" in report] for name, reports in rows.items()}
    present = [report for reports in shown.values() for report in reports]
    if not present:
        return None
    explained, units = present[0]["meanings"], present[0].get("units", {})
    lines = []
    for name, reports in shown.items():
        by_report = [_columns(report) for report in reports]
        for column in dict.fromkeys(column for columns in by_report for column in columns):
            several = [columns.get(column, {}) for columns in by_report]
            ends = set_intervals(reports[0]).get(column, {}) if len(reports) == 1 else {}
            cells = [_cell([values.get(key) for values in several], ends.get(key)) for key in explained]
            lines.append(TableRow([f"{name}: {column}", *cells, _added(reports, column)]))
    head = ["", *(f"{key} ({units[key]})" if key in units else key for key in explained), OUTCOMES["alarms"]]
    counts = [len(reports) for reports in shown.values()]
    how = ["mean and deviation over the seeds"] * (max(counts) > 1)
    how += ["in brackets 95 % intervals over the images" + " where there is one seed" * bool(how)] * (1 in counts)
    caption = f"Every value (%), {', '.join(how)}. {'. '.join(f'{key}: {text}' for key, text in explained.items())}"
    return Table(head, lines, caption=caption)


def _columns(report: Report) -> dict[str, dict[str, float]]:
    """The values by column, the worst case last."""
    columns = {column["name"]: column["values"] for column in report["columns"]}
    return {**columns, WORST: report["worst_case"]} if "worst_case" in report else columns


def _cell(values: Sequence[float | None], ends: Sequence[float] | None) -> str:
    """The mean over the reports in which a value is defined, and in how many where it is not in all."""
    defined = [value for value in values if value is not None]
    if not defined:
        return ""
    text = mean_and_deviation(defined)
    if len(defined) < len(values):
        return f"{text} ({len(defined)} of {len(values)} seeds)"
    return text if ends is None else "{} ({:.1f}–{:.1f})".format(text, *ends)


def _added(reports: Sequence[Report], column: str) -> str:
    """False alarms that an attack adds to an image; empty without attack."""
    values = []
    for report in reports:
        attack: Report = next((attack for attack in report["attacks"] if column in attack["columns"]), {})
        alarms = report.get("worst_case_alarms") if column == WORST else attack.get("alarms")
        values.append(alarms["added"] if alarms else None)
    return _cell(values, None)
