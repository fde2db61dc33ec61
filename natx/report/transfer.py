"""The transfer matrix of checkpoints as transfer.json and transfer.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from natx.report.cells import settings_text
from natx.runtime.files import write_json, write_text


def markdown(report: dict[str, Any]) -> str:
    """The report as Markdown: a matrix for each attack."""
    targets = list(report["clean"])
    lines = [
        "# Transfer between models",
        "",
        f"Accuracy in percent under **{report['threat']}** on {report['images']} of {report['of']} test images: a row "
        "is the model that the attack was run on, a column the model that was asked about the result. **Bold** is the "
        "white-box attack: in its column no other number should be below it. One that is by more than 0.2 points (!) "
        "says that the white-box attack was hindered, as by masked gradients, and not that the model is robust.",
    ]
    flagged = {(flag["attack"], flag["source"], flag["target"]) for flag in report["flags"]}
    for attack in report["attacks"]:
        lines += ["", f"## {attack['name']}", "", "| crafted on | " + " | ".join(targets) + " |"]
        lines += ["|---|" + "---:|" * len(targets)]
        lines += ["| nothing (clean) | " + " | ".join(f"{report['clean'][t]:.2f}" for t in targets) + " |"]
        for source, row in attack["accuracy"].items():
            cells = [
                f"**{row[target]:.2f}**"
                if target == source
                else f"{row[target]:.2f}" + (" !" if (attack["name"], source, target) in flagged else "")
                for target in targets
            ]
            lines.append(f"| {source} | " + " | ".join(cells) + " |")
        spent = {key: sum(cost[key] for cost in attack["cost"].values()) for key in ("forwards", "backwards")}
        lines += ["", f"Cost: {spent['forwards']} forwards and {spent['backwards']} backwards."]
        lines += ["", f"Settings: {settings_text(attack['settings'])}."]
    lines += ["", "## Where transfer beats the white-box attack", ""]
    lines += [
        f"- {flag['attack']}, {flag['source']} to {flag['target']}: {flag['transfer']:.2f} below "
        f"{flag['white_box']:.2f}; {flag['missed']} images that only the transferred pixels break"
        for flag in report["flags"]
    ] or ["Nowhere."]
    lines += ["", "## Models", ""]
    lines += [
        f"- {m['name']}: {m['config']}, {m['checkpoint']} ({m['checkpoint_sha256'][:16]})" for m in report["models"]
    ]
    return "\n".join(lines) + "\n"


def write_transfer(folder: Path, report: dict[str, Any]) -> None:
    """Write transfer.json and transfer.md atomically."""
    write_json(folder / "transfer.json", report)
    write_text(folder / "transfer.md", markdown(report))
