"""Reports of one model at several radii as one table and one chart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from natx.evaluation.robust import CLEAN
from natx.report.cells import cells, column_names, report_cells
from natx.report.charts import Chart, Line, chart, eps_name
from natx.report.intervals import INTERVAL, interval_cells
from natx.report.page import render_page
from natx.report.tables import Table, TableRow
from natx.runtime.files import write_text

Report = dict[str, Any]


def write_curve(folder: Path, reports: Sequence[Report], places: Sequence[str]) -> str:
    """Write ``curve.md`` and ``curve.html``; the Markdown.

    Args:
        folder: gets both.
        reports: of one model, a radius each.
        places: where each report lies, seen from the folder.
    """
    text = curve_markdown(reports, places)
    write_text(folder / "curve.md", text)
    write_text(folder / "curve.html", curve_page(reports, places))
    return text


def curve_table(reports: Sequence[Report]) -> Table:
    """A row a radius in the order of the reports, with every column (%), and beneath it the intervals."""
    names, rows = column_names(reports), []
    for report in reports:
        rows.append(TableRow([report["threat"], *cells(report, names)]))
        if any(intervals := interval_cells(report, names)):
            rows.append(TableRow([INTERVAL, *intervals], "interval"))
    return Table(["threat model", *names], rows, caption=f"{reports[0]['name']} by radius")


def curve_markdown(reports: Sequence[Report], places: Sequence[str]) -> str:
    """The table as a file, with where each report lies."""
    table = curve_table(reports)
    lines = [f"# {table.caption}", "", images_text(reports), "", *table.markdown(), ""]
    lines += [f"- {report['threat']}: [{place}]({place})" for report, place in zip(reports, places)]
    return "\n".join(lines) + "\n"


def curve_page(reports: Sequence[Report], places: Sequence[str]) -> str:
    """The page: a chart of every column against the radius, the table, and where each report lies."""
    table, drawing = curve_table(reports), curve_chart(reports)
    return render_page(
        "curve",
        title=table.caption,
        explanation=images_text(reports),
        drawings=[drawing] if drawing else [],
        results=table,
        places=[(report["threat"], place) for report, place in zip(reports, places)],
    )


def curve_chart(reports: Sequence[Report]) -> Chart | None:
    """Each column's accuracy (of a metric with several values, the first) against the radius; None without radii.

    A curve begins at the clean value, which is that of radius 0.
    """
    radii = [size for report in reports if (size := radius(report["threat"])) is not None]
    if len(radii) < len(reports):
        return None
    values = [report_cells(report) for report in reports]
    lines = []
    for name in column_names(reports):
        points = [(size, cell[name][0]) for size, cell in zip(radii, values) if name in cell]
        if name != CLEAN and points:
            lines.append(Line(name, sorted([(0.0, values[0][CLEAN][0]), *points])))
    title = f"{reports[0].get('cell', ['Accuracy'])[0]} against eps"
    return chart(lines, title=title, x_name=eps_name(reports[0]["threat"]))


def radius(threat: str) -> float | None:
    """The radius that a threat model's text names, Linf in 1/255; None for several threat models."""
    norm, _, text = threat.partition(" ")
    number, _, denominator = text.partition("/")
    try:
        size = float(number) / float(denominator or 1)
    except ValueError:
        return None
    return round(255 * size, 6) if norm == "Linf" else size


def images_text(reports: Sequence[Report]) -> str:
    """Of what the numbers are."""
    return f"In %, on {reports[0]['images']} test images."
