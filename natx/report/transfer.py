"""The transfer matrix of checkpoints as transfer.json, transfer.md and transfer.html."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from natx.checks.chance import FAMILY
from natx.checks.columns import BlackBoxWeaker
from natx.report.cells import settings_text
from natx.report.intervals import widest
from natx.report.page import render_page
from natx.report.report_page import provenance_facts
from natx.report.tables import Strong, Table, TableRow
from natx.runtime.files import write_json, write_text

TITLE = "Transfer between models"


def markdown(report: dict[str, Any]) -> str:
    """The report as Markdown: a matrix for each attack."""
    lines = [f"# {TITLE}", "", _explanation(report)]
    for attack in report["attacks"]:
        lines += ["", f"## {attack['name']}", "", *_matrix(report, attack).markdown()]
        lines += ["", _cost(attack), "", f"Settings: {settings_text(attack['settings'])}."]
    lines += ["", "## Where transfer beats the white-box attack", ""]
    lines += [f"- {text}" for text in _flags(report)] or ["Nowhere beyond chance."]
    lines += ["", "## Models", "", *(f"- {name}: {text}" for name, text in _models(report))]
    return "\n".join(lines) + "\n"


def transfer_page(report: dict[str, Any]) -> str:
    """The report as a page."""
    attacks = [
        {
            "name": attack["name"],
            "matrix": _matrix(report, attack),
            "cost": _cost(attack),
            "settings": settings_text(attack["settings"]),
        }
        for attack in report["attacks"]
    ]
    return render_page(
        "transfer",
        title=TITLE,
        explanation=_explanation(report).replace("**", ""),
        attacks=attacks,
        flags=_flags(report),
        models=_models(report),
        provenance=provenance_facts(report["provenance"]),
    )


def _explanation(report: dict[str, Any]) -> str:
    """How to read a matrix."""
    return (
        f"Accuracy in percent under **{report['threat']}** on {report['images']} of {report['of']} test images: a row "
        "is the model that the attack was run on, a column the model that was asked about the result. **Bold** is the "
        "white-box attack: in its column no other number should be below it. One that is by more than "
        f"{BlackBoxWeaker.tolerance:g} points, and by more than chance explains (!, p at most {FAMILY:g} over all "
        "comparisons), says that the white-box attack was hindered, as by masked gradients, and not that the model is "
        "robust. The 95 % interval of an accuracy (Wilson) reaches at most "
        f"{widest(report['images']):.1f} points to a side."
    )


def _matrix(report: dict[str, Any], attack: dict[str, Any]) -> Table:
    """An attack's accuracies, a row a model that it was run on; white-box ones are bold."""
    targets = list(report["clean"])
    flagged = {(flag["attack"], flag["source"], flag["target"]) for flag in report["flags"]}
    rows = [TableRow(["nothing (clean)", *(f"{report['clean'][target]:.2f}" for target in targets)])]
    for source, accuracy in attack["accuracy"].items():
        cells = []
        for target in targets:
            mark = " !" if (attack["name"], source, target) in flagged else ""
            number = f"{accuracy[target]:.2f}"
            cells.append(Strong(number) if target == source else number + mark)
        rows.append(TableRow([source, *cells]))
    return Table(["crafted on", *targets], rows, caption=f"Accuracy (%) under {attack['name']}, {report['threat']}")


def _cost(attack: dict[str, Any]) -> str:
    """What an attack spent on all models."""
    spent = {key: sum(cost[key] for cost in attack["cost"].values()) for key in ("forwards", "backwards")}
    return f"Cost: {spent['forwards']} forwards and {spent['backwards']} backwards."


def _flags(report: dict[str, Any]) -> list[str]:
    """Where a transferred attack breaks more than the white-box one."""
    return [
        f"{flag['attack']}, {flag['source']} to {flag['target']}: {flag['transfer']:.2f} below "
        f"{flag['white_box']:.2f}; {flag['missed']} images that only the transferred pixels break, "
        f"p {flag['p_value']:.2g}"
        for flag in report["flags"]
    ]


def _models(report: dict[str, Any]) -> list[tuple[str, str]]:
    """Config, checkpoint and its hash of each model, what was taken of it, and remarks on classes."""
    models = []
    for model in report["models"]:
        text = f"{model['config']}, {model['checkpoint']} ({model['checkpoint_sha256'][:16]})"
        if "weights" in model:
            text += f", {model['weights']}, normalised with {model['normalisation']}"
        models.append((model["name"], text))
    return [*models, *(("note", note) for note in report.get("notes", []))]


def write_transfer(folder: Path, report: dict[str, Any]) -> None:
    """Write transfer.json, transfer.md and transfer.html atomically."""
    write_json(folder / "transfer.json", report)
    write_text(folder / "transfer.md", markdown(report))
    write_text(folder / "transfer.html", transfer_page(report))
