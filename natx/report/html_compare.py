"""A comparison as one page: a table for each way of measuring, its seeds, its checks, and where it comes from."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from natx.evaluation.robust import CLEAN
from natx.report.cells import WORST, cells, paper_cells, settings_text, short
from natx.report.compare import Comparison, Row, shown_columns
from natx.report.html import badge, charts
from natx.report.html_charts import Line, eps_chart, step_chart, step_lines, sweep_line
from natx.report.html_page import page
from natx.report.html_tags import Html, facts, html, section, table, tag


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
    parts = [_section(i, one) for i, one in enumerate(tables, start=1)]
    return page(title, tag("h1", title), tag("p", about), *parts)


def _section(number: int, one: Comparison) -> Html:
    first = one.reports[0]
    conditions = {key: value for key, value in one.conditions.items() if key != "attacks"}
    reason = f"A table of its own: {one.reason}." if one.reason else None
    steps = [line for row in one.rows for line in mean_lines(row, [step_lines(run.report) for run in row.runs])]
    sweeps = [line for row in one.rows for line in mean_lines(row, [_sweep(run.report) for run in row.runs])]
    heading = "Results" if "cell" not in first else f"Results: {'/'.join(first['cell'])}"
    return section(
        heading if number == 1 else f"{heading}, table {number}",
        tag("p", reason, class_="notice red") if reason else None,
        *(tag("p", f"Note: {note}.", class_="notice") for note in one.notes),
        _table(one),
        charts(step_chart(steps), eps_chart(sweeps, threat=first["threat"])),
        _checks(one),
        tag("details", tag("summary", "How it was measured"), facts([*conditions.items(), *_attacks(first)])),
        tag("details", tag("summary", "Where the numbers come from"), *_sources(one)),
    )


def _table(one: Comparison) -> Html:
    """A row a training, its seeds and the paper's row beneath it."""
    columns, rows = _headline_early(shown_columns(one)), []
    for row in one.rows:
        rows.append((None, [tag("b", row.name), str(len(row.runs)), *row.cells(columns)]))
        if len(row.runs) > 1:
            rows += [("part", [run.label, "", *cells(run.report, columns)]) for run in row.runs]
        for paper in [run.report["paper"] for run in row.runs if "paper" in run.report][:1]:
            rows.append(("part", [paper["name"], "", *paper_cells(paper, columns)]))
    measure, threat, data = (one.conditions[key] for key in ("measure", "threat", "data"))
    return table(["", "seeds", *columns], rows, caption=f"{measure[:1].upper() + measure[1:]} (%), {threat}, {data}")


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


def _checks(one: Comparison) -> Html:
    """The verdicts of the audited runs, a row a check."""
    audited = [(row, run) for row in one.rows for run in row.runs if "checks" in run.report]
    if not audited:
        return Html()
    verdicts = [{check["id"]: check for check in run.report["checks"]} for _, run in audited]
    titles = {check["id"]: check["title"] for found in verdicts for check in found.values()}
    rows = [
        (None, [f"{key}: {title}", *(badge(found[key]["verdict"]) if key in found else "" for found in verdicts)])
        for key, title in titles.items()
    ]
    names = [row.name if len(row.runs) == 1 else html(row.name, tag("br"), run.label) for row, run in audited]
    return table(["", *names], rows, caption="Checks")


def _attacks(report: dict[str, Any]) -> list[tuple[str, str]]:
    """Every attack's settings."""
    return [(", ".join(attack["columns"]), settings_text(attack["settings"])) for attack in report["attacks"]]


def _sources(one: Comparison) -> list[Html]:
    """Report, config, checkpoint, machine and cost of each run."""
    parts = []
    for row in one.rows:
        for run in row.runs:
            settings, provenance = run.report["settings"], run.report["provenance"]
            told = [("report", run.path), *((key, short(value)) for key, value in settings.items())]
            told += [(key, short(value)) for key, value in provenance.items()]
            spent = {key: sum(attack[key] for attack in run.report["attacks"]) for key in ("forwards", "backwards")}
            told += [(key, value) for key, value in spent.items()]
            parts += [tag("h3", f"{row.name}: {run.label}" if len(row.runs) > 1 else row.name), facts(told)]
    return parts
