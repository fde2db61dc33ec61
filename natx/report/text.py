"""Reports as text: a table for a terminal, and everything as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from natx.checks.text import markdown_checks
from natx.report.cells import (
    OUTCOMES,
    WORST,
    cells,
    column_names,
    outcome,
    outcome_text,
    paper_cells,
    settings_text,
    short,
)
from natx.report.console import NumberTable
from natx.report.intervals import INTERVAL, interval_cells, over_what, set_intervals
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
        lines += [*(f"- {line}" for line in meanings(report)), ""] if "meanings" in report else []
        lines += [line for text in (worst_outcome(report),) if text for line in (f"Worst case: {text}.", "")]
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
        alone = "" if "worst_case" in report else "Each attack is reported by itself."
        what = (
            f"{'/'.join(report['cell'])} in percent on {report['images']} test images; the attacks may change "
            f"{report['attacked']} of them, under **{report['threat']}**."
        )
        return " ".join(text for text in (what, alone, over_what(report)) if text)
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


def worst_outcome(report: dict[str, Any]) -> str:
    """What was measured of a set's worst case, in words; empty where nothing was."""
    measured = {key: report[f"worst_case_{key}"] for key in OUTCOMES if f"worst_case_{key}" in report}
    chosen = report.get("worst_case_chosen")
    parts = [outcome(measured)] if measured else []
    parts += ["images by column: " + ", ".join(f"{name} {count}" for name, count in chosen.items())] if chosen else []
    return "; ".join(parts)


def values_table(report: dict[str, Any]) -> Table:
    """Every value of a set's metric, a row a column of the report, with its 95 % interval; empty where not defined."""
    values = {column["name"]: column["values"] for column in report["columns"]}
    values |= {WORST: report["worst_case"]} if "worst_case" in report else {}
    measured = (key for of_column in values.values() for key in of_column)
    keys = list(dict.fromkeys([*report.get("meanings", ()), *measured]))
    units, intervals = report.get("units", {}), set_intervals(report)
    rows = [
        TableRow([name, *(_value(of_column.get(key), intervals.get(name, {}).get(key)) for key in keys)])
        for name, of_column in values.items()
    ]
    head = [f"{key} ({units[key]})" if key in units else key for key in keys]
    return Table(["", *head], rows, caption="All values (%)")


def _value(value: float | None, ends: Sequence[float] | None) -> str:
    """A value and its interval, such as ``43.21 (38.0–48.5)``."""
    if value is None:
        return ""
    return f"{value:.2f}" if ends is None else f"{value:.2f} ({ends[0]:.1f}–{ends[1]:.1f})"


def meanings(report: dict[str, Any]) -> list[str]:
    """What the values of a set's metric are, a line each."""
    return [f"{name}: {text}." for name, text in report.get("meanings", {}).items()]


def _attack_table(report: dict[str, Any]) -> list[str]:
    """Every attack's settings, outcome and cost, a row an attack; columns that some attack fills."""
    measured = [key for key in OUTCOMES if any(key in attack for attack in report["attacks"])]
    names = ["columns", "settings", *(OUTCOMES[key] for key in measured), "forwards", "backwards", "time", "notes"]
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
