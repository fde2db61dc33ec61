"""Reports as text: a table for a terminal, and everything as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from natx.checks.text import markdown_checks
from natx.report.cells import OUTCOMES, cells, column_names, outcome_text, paper_cells, settings_text, short
from natx.report.console import NumberTable
from natx.report.intervals import INTERVAL, interval_cells, over_queries
from natx.report.tables import Table, TableRow
from natx.runtime.progress import duration


def console_table(reports: Sequence[dict[str, Any]]) -> NumberTable:
    """One row a report, for a terminal."""
    names = column_names(reports)
    rows = []
    for report in reports:
        rows.append((report["name"], cells(report, names), ""))
        if any(intervals := interval_cells(report, names)):
            rows.append((INTERVAL, intervals, "dim"))
        if "paper" in report:
            rows.append((report["paper"]["name"], paper_cells(report["paper"], names), "dim"))
    return NumberTable(_title(reports[0]), names, rows)


def _title(report: dict[str, Any]) -> str:
    """What the cells of a table are."""
    if "cell" in report:
        return f"{'/'.join(report['cell'])} (%), {report['images']} test images, {report['attacked']} of them attacked"
    return f"Accuracy (%) under {report['threat']}, {report['images']} test images"


def markdown_table(reports: Sequence[dict[str, Any]]) -> str:
    """One row a report, as Markdown."""
    names, rows = column_names(reports), []
    for report in reports:
        rows.append(TableRow([report["name"], *cells(report, names)]))
        if any(intervals := interval_cells(report, names)):
            rows.append(TableRow([INTERVAL, *intervals]))
        if "paper" in report:
            rows.append(TableRow([report["paper"]["name"], *paper_cells(report["paper"], names)]))
    return "\n".join(Table(["", *names], rows).markdown())


def markdown(report: dict[str, Any]) -> str:
    """The whole report as Markdown."""
    settings, provenance = report["settings"], report["provenance"]
    lines = [f"# {report['name']}", "", explanation(report), "", markdown_table([report]), ""]
    lines += [line for note in report.get("notes", []) for line in (f"Note: {note}.", "")]
    if "cell" in report:
        lines += ["## All values (%)", "", *values_table(report).markdown(), ""]
    lines += [*markdown_checks(report), "## Attacks", "", *_attack_table(report)]
    if report.get("pictures"):
        lines += ["", "## Examples"]
        for attack, file in report["pictures"].items():
            lines += ["", f"![{attack}: examples clean and attacked]({file})"]
    lines += ["", "## Settings", ""] + [f"- {key}: {short(value)}" for key, value in settings.items()]
    lines += ["", "## Provenance", ""]
    lines += [f"- {key}: {short(value)}" for key, value in provenance.items() if key != "packages"]
    lines += ["- packages: " + ", ".join(f"{key} {value}" for key, value in provenance["packages"].items())]
    return "\n".join(lines) + "\n"


def explanation(report: dict[str, Any]) -> str:
    """How to read the table."""
    if "cell" in report:
        return (
            f"{'/'.join(report['cell'])} in percent on {report['images']} test images; the attacks may change "
            f"{report['attacked']} of them, under **{report['threat']}**. "
            + (over_queries(report) if "worst_case" in report else "Each attack is reported by itself.")
        )
    counted = (
        "An image counts as broken if any step of an attack broke it."
        if report["success"] == "any"
        else "An image counts as broken if the last step of an attack leaves it misclassified."
    )
    worst = (
        "Only the worst case was asked for: the attacks ran cheapest first, each on the images that were still right "
        "after those before it, so none of them has a number of its own. The worst case counts an image only if no "
        "attack broke it."
        if report.get("pool")
        else "The worst case counts an image only if it is right in every column."
    )
    return f"Accuracy in percent under **{report['threat']}** on {report['images']} test images. {counted} {worst}"


def values_table(report: dict[str, Any]) -> Table:
    """Every value of a set's metric, a row a column of the report."""
    keys = list(report["columns"][0]["values"])
    rows = [
        TableRow([column["name"], *(f"{column['values'][key]:.2f}" for key in keys)]) for column in report["columns"]
    ]
    return Table(["", *keys], rows, caption="All values (%)")


def _attack_table(report: dict[str, Any]) -> list[str]:
    """Every attack's settings, outcome and cost, a row an attack; columns that some attack fills."""
    measured = [key for key in OUTCOMES if any(key in attack for attack in report["attacks"])]
    names = ["columns", "settings", *measured, "forwards", "backwards", "time", "notes"]
    rows = [
        TableRow(
            [
                ", ".join(attack["columns"]),
                settings_text(attack["settings"]),
                *(outcome_text(key, attack.get(key)) for key in measured),
                str(attack["forwards"]),
                str(attack["backwards"]),
                duration(attack["seconds"]),
                "; ".join(attack["notes"]),
            ]
        )
        for attack in report["attacks"]
    ]
    lines = Table(names, rows, words=(*range(2 + len(measured)), len(names) - 1)).markdown()
    if "perturbation" in measured:
        lines += ["", "Perturbation: the largest change of a pixel; the means are over the images that changed."]
    return lines
