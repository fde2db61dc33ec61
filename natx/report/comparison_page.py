"""A comparison as one page: a table for each way of measuring, its seeds, its checks, and where it comes from."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from natx.evaluation.robust import CLEAN
from natx.report.cells import WORST, cells, paper_cells, short
from natx.report.charts import Line, eps_chart, step_chart, step_lines, sweep_line
from natx.report.checks_beside import ChecksBeside
from natx.report.compare import Comparison, Row, shown_columns
from natx.report.intervals import INTERVAL, interval_cells
from natx.report.needed import needed_table
from natx.report.page import render_page
from natx.report.paired import paired_table
from natx.report.report_page import attack_settings
from natx.report.tables import Table, TableRow


def comparison_page(tables: Sequence[Comparison], *, title: str = "Comparison") -> str:
    """The page of some comparisons.

    Args:
        tables: see :func:`natx.report.compare.compare`.
        title: its heading.
    """
    count = sum(len(one.reports) for one in tables)
    about = f"{count} reports; mean and sample standard deviation over the seeds of a training, never the best seed."
    if len(tables) > 1:
        about += f" They were measured in {len(tables)} different ways: numbers of different tables cannot be compared."
    sections = [_section(i, one) for i, one in enumerate(tables, start=1)]
    return render_page("comparison", title=title, about=about, sections=sections)


def _section(number: int, one: Comparison) -> dict[str, Any]:
    """What the template shows of a comparison."""
    first = one.reports[0]
    reports = {row.name: [run.report for run in row.runs] for row in one.rows}
    steps = [line for row in one.rows for line in mean_lines(row, [step_lines(run.report) for run in row.runs])]
    sweeps = [line for row in one.rows for line in mean_lines(row, [_sweep(run.report) for run in row.runs])]
    heading = "Results" if "cell" not in first else f"Results: {'/'.join(first['cell'])}"
    charts = [step_chart(steps), eps_chart(sweeps, threat=first["threat"])]
    conditions = [(key, value) for key, value in one.conditions.items() if key != "attacks"]
    return {
        "heading": heading if number == 1 else f"{heading}, table {number}",
        "reason": f"A table of its own: {one.reason}." if one.reason else "",
        "notes": [f"Note: {note}." for note in one.notes],
        "table": _table(one),
        "paired": paired_table(reports),
        "needed": needed_table(reports),
        "charts": [chart for chart in charts if chart],
        "checks": _checks(one),
        "conditions": [*conditions, *attack_settings(first)],
        "sources": _sources(one),
    }


def _table(one: Comparison) -> Table:
    """A row a training, its seeds and the paper's row beneath it."""
    columns, rows = _headline_early(shown_columns(one)), []
    for row in one.rows:
        rows.append(TableRow([row.name, str(len(row.runs)), *row.cells(columns)], "training"))
        for run in row.runs:
            if len(row.runs) > 1:
                rows.append(TableRow([run.label, "", *cells(run.report, columns)], "part"))
            if any(intervals := interval_cells(run.report, columns)):
                rows.append(TableRow([INTERVAL, "", *intervals], "interval"))
        for paper in [run.report["paper"] for run in row.runs if "paper" in run.report][:1]:
            rows.append(TableRow([paper["name"], "", *paper_cells(paper, columns)], "part"))
    measure, threat, data = (one.conditions[key] for key in ("measure", "threat", "data"))
    caption = f"{measure.capitalize() if measure.islower() else measure} (%), {threat}, {data}"
    return Table(["", "seeds", *columns], rows, caption=caption)


def _headline_early(columns: Sequence[str]) -> list[str]:
    """The columns with the headline first: a phone shows the first ones only."""
    early = [name for name in (WORST, CLEAN) if name in columns]
    return [*early, *(name for name in columns if name not in early)]


def mean_lines(row: Row, lines: Sequence[Sequence[Line]]) -> list[Line]:
    """The lines of a row's runs as their means; those that a run lacks, or has at other points, are left out."""
    means = []
    for line in lines[0]:
        same = [other for run in lines for other in run if other.name == line.name]
        xs = [x for x, _ in line.points]
        if len(same) != len(lines) or any([x for x, _ in other.points] != xs for other in same):
            continue
        values = zip(*([accuracy for _, accuracy in other.points] for other in same))
        several = f", {line.name}" if len(lines[0]) > 1 else ""
        means.append(Line(row.name + several, list(zip(xs, map(statistics.fmean, values)))))
    return means


def _sweep(report: dict[str, Any]) -> list[Line]:
    line = sweep_line(report)
    return [] if line is None else [line]


def _checks(one: Comparison) -> ChecksBeside | None:
    """The verdicts of the audited runs; None without any."""
    audited = {
        row.name if len(row.runs) == 1 else f"{row.name}, {run.label}": run.report
        for row in one.rows
        for run in row.runs
        if "checks" in run.report
    }
    return ChecksBeside(audited) if audited else None


def _sources(one: Comparison) -> list[tuple[str, list[tuple[str, str]]]]:
    """Report, config, checkpoint, machine and cost of each run, by its name."""
    sources = []
    for row in one.rows:
        for run in row.runs:
            facts = [("report", str(run.path))]
            facts += [(key, short(value)) for key, value in run.report["settings"].items()]
            facts += [(key, short(value)) for key, value in run.report["provenance"].items()]
            facts += [(key, str(sum(a[key] for a in run.report["attacks"]))) for key in ("forwards", "backwards")]
            sources.append((f"{row.name}: {run.label}" if len(row.runs) > 1 else row.name, facts))
    return sources
