"""Reports: what was measured, how, on what, at which cost; everything is rendered from report.json."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from natx.evaluation.robust import Evaluation
from natx.files import write_json, write_text
from natx.progress import duration

WORST = "Worst case"


def make_report(
    evaluation: Evaluation, *, name: str, threat: str, settings: dict[str, Any], provenance: dict[str, Any]
) -> dict[str, Any]:
    """The content of report.json: plain values only.

    Args:
        evaluation: outcomes.
        name: what was evaluated, the row's name in tables.
        threat: the threat model as text with eps as a fraction.
        settings: config, checkpoint (path and hash), data set, subset, seed, batch size, ...
        provenance: see :func:`natx.provenance.provenance`.
    """
    columns = [
        {
            "name": column,
            "accuracy": evaluation.accuracy(column),
            "correct": int(outcome.sum()),
            "images": len(outcome),
        }
        for column, outcome in evaluation.correct.items()
    ]
    return {
        "name": name,
        "threat": threat,
        "success": evaluation.success,
        "images": evaluation.count,
        "columns": columns,
        "worst_case": evaluation.worst_case(),
        "attacks": [
            {
                "columns": result.columns,
                "settings": result.settings,
                "forwards": result.cost.forwards,
                "backwards": result.cost.backwards,
                "seconds": round(result.seconds, 2),
                "notes": result.notes,
            }
            for result in evaluation.attacks
        ],
        "settings": settings,
        "provenance": provenance,
    }


def column_names(reports: Sequence[dict[str, Any]]) -> list[str]:
    """All columns of some reports in order of first appearance, the worst case last."""
    names = list(dict.fromkeys(column["name"] for report in reports for column in report["columns"]))
    return [*names, WORST]


def cells(report: dict[str, Any], names: Sequence[str]) -> list[str]:
    """A report's accuracies (%) for some columns; 'not run' where it has none."""
    values = {column["name"]: column["accuracy"] for column in report["columns"]}
    values[WORST] = report["worst_case"]
    return [f"{values[name]:.2f}" if name in values else "not run" for name in names]


def console_table(reports: Sequence[dict[str, Any]]) -> Table:
    """One row a report, for a terminal."""
    names = column_names(reports)
    first = reports[0]
    table = Table(title=f"Accuracy (%) under {first['threat']}, {first['images']} test images")
    table.add_column("", no_wrap=True)
    for name in names:
        table.add_column(name, justify="right")
    for report in reports:
        table.add_row(report["name"], *cells(report, names))
    return table


def markdown_table(reports: Sequence[dict[str, Any]]) -> str:
    """One row a report, as Markdown."""
    names = column_names(reports)
    lines = ["| | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    lines += [f"| {report['name']} | " + " | ".join(cells(report, names)) + " |" for report in reports]
    return "\n".join(lines)


def markdown(report: dict[str, Any]) -> str:
    """The whole report as Markdown."""
    settings, provenance = report["settings"], report["provenance"]
    lines = [
        f"# {report['name']}",
        "",
        f"Accuracy in percent under **{report['threat']}** on {report['images']} test images. "
        + (
            "An image counts as broken if any step of an attack broke it."
            if report["success"] == "any"
            else "An image counts as broken if the last step of an attack leaves it misclassified."
        )
        + " The worst case counts an image only if it is right in every column.",
        "",
        markdown_table([report]),
        "",
        "## Attacks",
        "",
        "| columns | settings | forwards | backwards | time | notes |",
        "|---|---|---:|---:|---:|---|",
    ]
    for attack in report["attacks"]:
        described = ", ".join(f"{key}={_short(value)}" for key, value in attack["settings"].items() if key != "threat")
        lines.append(
            f"| {', '.join(attack['columns'])} | {described} | {attack['forwards']} | {attack['backwards']} "
            f"| {duration(attack['seconds'])} | {'; '.join(attack['notes'])} |"
        )
    lines += ["", "## Settings", ""] + [f"- {key}: {_short(value)}" for key, value in settings.items()]
    lines += ["", "## Provenance", ""]
    lines += [f"- {key}: {_short(value)}" for key, value in provenance.items() if key != "packages"]
    lines += ["- packages: " + ", ".join(f"{key} {value}" for key, value in provenance["packages"].items())]
    return "\n".join(lines) + "\n"


def write_report(folder: Path, report: dict[str, Any]) -> None:
    """Write report.json and report.md atomically."""
    write_json(folder / "report.json", report)
    write_text(folder / "report.md", markdown(report))


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_short(entry)}" for key, entry in value.items())
    return str(value)
