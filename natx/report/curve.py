"""Reports of one model at several radii as one table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from natx.report.cells import cells, column_names
from natx.report.tables import Table, TableRow


def curve_table(reports: Sequence[dict[str, Any]]) -> Table:
    """A row a radius, smallest first as they are given, with every column of the reports (%)."""
    names = column_names(reports)
    rows = [TableRow([report["threat"], *cells(report, names)]) for report in reports]
    return Table(["threat model", *names], rows, caption=f"{reports[0]['name']} by radius")


def curve_markdown(reports: Sequence[dict[str, Any]], places: Sequence[str]) -> str:
    """The table as a file, with where each report lies."""
    table = curve_table(reports)
    lines = [
        f"# {table.caption}",
        "",
        f"In %, on {reports[0]['images']} test images.",
        "",
        *table.markdown(),
        "",
    ]
    lines += [f"- {report['threat']}: [{place}]({place})" for report, place in zip(reports, places)]
    return "\n".join(lines) + "\n"
