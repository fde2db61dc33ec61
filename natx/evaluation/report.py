"""Reports: what was measured, how, on what, at which cost; everything is rendered from report.json."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from natx.checks.text import markdown_checks
from natx.evaluation.metric import Metric
from natx.evaluation.robust import AttackResult, Evaluation
from natx.evaluation.sets import SetAttackResult, SetEvaluation
from natx.files import write_json, write_text
from natx.progress import duration
from natx.threat import pixel_fraction

WORST = "Worst case"
NOT_RUN = "not run"
OUTCOMES = ("perturbation", "success")  # what may be measured of an attack on a set


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
        **({} if evaluation.left is None else {"pool": True}),
        "images": evaluation.count,
        "columns": columns,
        "worst_case": evaluation.worst_case(),
        "attacks": [_attack(result) for result in evaluation.attacks],
        "settings": settings,
        "provenance": provenance,
    }


def make_set_report(
    evaluation: SetEvaluation,
    *,
    metric: Metric,
    name: str,
    threat: str,
    settings: dict[str, Any],
    provenance: dict[str, Any],
    paper: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The content of report.json for a set-level task: plain values only; arguments as in :func:`make_report`.

    Args:
        evaluation: outcomes.
        metric: names the values of a cell.
        name: what was evaluated.
        threat: the threat models as text.
        settings: how it was evaluated.
        provenance: what it ran on.
        paper: the paper's row to print beside ours: ``name`` and ``cells`` (text by column).
    """
    return {
        "name": name,
        "threat": threat,
        "images": evaluation.count,
        "attacked": evaluation.attacked,
        "cell": list(metric.cell),
        "columns": [{"name": column, "values": values} for column, values in evaluation.values.items()],
        "notes": evaluation.notes,
        "attacks": [{**_attack(result), **_measured(result)} for result in evaluation.attacks],
        "settings": settings,
        "provenance": provenance,
        **({"paper": paper} if paper else {}),
    }


def _attack(result: AttackResult) -> dict[str, Any]:
    return {
        "columns": result.columns,
        "settings": result.settings,
        "forwards": result.cost.forwards,
        "backwards": result.cost.backwards,
        "seconds": round(result.seconds, 2),
        "notes": result.notes,
    }


def _measured(result: SetAttackResult) -> dict[str, Any]:
    """What was measured of an attack on a set, as far as there is such a thing."""
    values = {"perturbation": result.perturbation, "success": result.success}
    return {key: value for key, value in values.items() if value is not None}


def column_names(reports: Sequence[dict[str, Any]]) -> list[str]:
    """All columns of some reports in order of first appearance; the worst case last where images have one."""
    names = list(dict.fromkeys(column["name"] for report in reports for column in report["columns"]))
    return [*names, WORST] if any("worst_case" in report for report in reports) else names


def cell_values(report: dict[str, Any], names: Sequence[str]) -> list[list[float] | None]:
    """The numbers (%) of a report's cells for some columns; None where it has none.

    One accuracy, or the metric's values in the order of ``report["cell"]``.
    """
    values = {}
    for column in report["columns"]:
        values[column["name"]] = (
            [column["values"][key] for key in report["cell"]] if "cell" in report else [column["accuracy"]]
        )
    if "worst_case" in report:
        values[WORST] = [report["worst_case"]]
    return [values.get(name) for name in names]


def cells(report: dict[str, Any], names: Sequence[str]) -> list[str]:
    """A report's cells for some columns, such as ``52.30`` or ``68.92/88.25``; 'not run' where it has none."""
    return [
        NOT_RUN if cell is None else "/".join(f"{value:.2f}" for value in cell) for cell in cell_values(report, names)
    ]


def paper_cells(paper: dict[str, Any], names: Sequence[str]) -> list[str]:
    """The cells of the paper's row for some columns."""
    return [paper["cells"].get(name, "") for name in names]


def _title(report: dict[str, Any]) -> str:
    """What the cells of a table are."""
    if "cell" in report:
        return f"{'/'.join(report['cell'])} (%), {report['images']} test images, {report['attacked']} of them attacked"
    return f"Accuracy (%) under {report['threat']}, {report['images']} test images"


def console_table(reports: Sequence[dict[str, Any]]) -> Table:
    """One row a report, for a terminal."""
    names = column_names(reports)
    table = Table(title=_title(reports[0]))
    table.add_column("", no_wrap=True)
    for name in names:
        table.add_column(name, justify="right")
    for report in reports:
        table.add_row(report["name"], *cells(report, names))
        if "paper" in report:
            table.add_row(report["paper"]["name"], *paper_cells(report["paper"], names), style="dim")
    return table


def markdown_table(reports: Sequence[dict[str, Any]]) -> str:
    """One row a report, as Markdown."""
    names = column_names(reports)
    lines = ["| | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    for report in reports:
        lines.append(f"| {report['name']} | " + " | ".join(cells(report, names)) + " |")
        if "paper" in report:
            lines.append(f"| {report['paper']['name']} | " + " | ".join(paper_cells(report["paper"], names)) + " |")
    return "\n".join(lines)


def markdown(report: dict[str, Any]) -> str:
    """The whole report as Markdown."""
    settings, provenance = report["settings"], report["provenance"]
    lines = [f"# {report['name']}", "", explanation(report), "", markdown_table([report]), ""]
    lines += [line for note in report.get("notes", []) for line in (f"Note: {note}.", "")]
    if "cell" in report:
        lines += ["## All values (%)", "", *_value_table(report), ""]
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
            f"{report['attacked']} of them, under **{report['threat']}**. Each attack is reported by itself."
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


def _value_table(report: dict[str, Any]) -> list[str]:
    """Every value of the metric, a row a column of the report."""
    keys = list(report["columns"][0]["values"])
    lines = ["| | " + " | ".join(keys) + " |", "|---|" + "---:|" * len(keys)]
    for column in report["columns"]:
        lines.append(f"| {column['name']} | " + " | ".join(f"{column['values'][key]:.2f}" for key in keys) + " |")
    return lines


def _attack_table(report: dict[str, Any]) -> list[str]:
    """Every attack's settings, outcome and cost, a row an attack; columns that some attack fills."""
    measured = [key for key in OUTCOMES if any(key in attack for attack in report["attacks"])]
    names = ["columns", "settings", *measured, "forwards", "backwards", "time", "notes"]
    lines = ["| " + " | ".join(names) + " |", "|---|---|" + "---|" * len(measured) + "---:|---:|---:|---|"]
    for attack in report["attacks"]:
        cells = [
            ", ".join(attack["columns"]),
            ", ".join(f"{key}={setting_text(key, value)}" for key, value in attack["settings"].items()),
            *(_outcome(key, attack.get(key)) for key in measured),
            str(attack["forwards"]),
            str(attack["backwards"]),
            duration(attack["seconds"]),
            "; ".join(attack["notes"]),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    if "perturbation" in measured:
        lines += ["", "Perturbation: the largest change of a pixel; the means are over the images that changed."]
    return lines


def outcome(attack: dict[str, Any]) -> str:
    """What was measured of an attack (an entry of ``report["attacks"]``) in words; empty where nothing was."""
    return "; ".join(f"{key} {_outcome(key, attack[key])}" for key in OUTCOMES if key in attack)


def _outcome(key: str, value: dict[str, Any] | None) -> str:
    """A perturbation's size or a success rate in words."""
    if value is None:
        return ""
    if key == "success":
        return f"{value['fooled']} of {value['of']}" + (f" ({value['rate']:.2f} %)" if value["of"] else "")
    if not value["changed"]:
        return f"none of {value['images']} images changed"
    return (
        f"at most {pixel_fraction(value['linf'])}, mean L2 {value['l2']:.3g}, mean PSNR {value['psnr']:.1f} dB, "
        f"{value['changed']} of {value['images']} images changed"
    )


def write_report(folder: Path, report: dict[str, Any]) -> None:
    """Write report.json, report.md and report.html atomically; the last has the pictures in ``folder`` in it."""
    from natx.evaluation.html import report_page  # which reads this module's texts

    write_json(folder / "report.json", report)
    write_text(folder / "report.md", markdown(report))
    write_text(folder / "report.html", report_page(report, folder=folder))


def setting_text(key: str, value: Any) -> str:
    """An attack's setting; a step size as a fraction, as eps is."""
    return pixel_fraction(value) if key == "step_size" else short(value)


def short(value: Any) -> str:
    """A value in a line of text."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {short(entry)}" for key, entry in value.items())
    return str(value)
