"""What stands in a report's cells, as numbers and as words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from natx.threat import pixel_fraction

WORST = "Worst case"
NOT_RUN, NOT_APPLICABLE = "not run", "not applicable"
INNER_THREAT = re.compile(r"\bthreat=(\w+)")
INNER_STEP = re.compile(r"\bstep_size=(\d[\d.e+-]*)")
# What may be measured of an attack on a set, by its key in a report.
OUTCOMES = {"perturbation": "perturbation", "success": "success", "alarms": "false alarms added"}


def column_names(reports: Sequence[dict[str, Any]]) -> list[str]:
    """All columns of some reports in order of first appearance; the worst case last where images have one."""
    columns = (
        name
        for report in reports
        for name in (*(column["name"] for column in report["columns"]), *report.get("not_applicable", ()))
    )
    names = list(dict.fromkeys(columns))
    return [*names, WORST] if any("worst_case" in report for report in reports) else names


def report_cells(report: dict[str, Any]) -> dict[str, list[float]]:
    """All numbers (%) of a report by column: an accuracy, or the metric's values in order of ``report["cell"]``."""
    values = {}
    for column in report["columns"]:
        values[column["name"]] = (
            [column["values"][key] for key in report["cell"]] if "cell" in report else [column["accuracy"]]
        )
    if "worst_case" in report:
        worst = report["worst_case"]
        values[WORST] = [worst[key] for key in report["cell"]] if "cell" in report else [worst]
    return values


def cell_values(report: dict[str, Any], names: Sequence[str]) -> list[list[float] | None]:
    """A report's numbers (:func:`report_cells`) for some columns; None where it has none."""
    values = report_cells(report)
    return [values.get(name) for name in names]


def cells(report: dict[str, Any], names: Sequence[str]) -> list[str]:
    """A report's cells for some columns, such as ``52.30`` or ``68.92/88.25``; why not in words where it has none."""
    return [
        absent(report, name) if cell is None else "/".join(f"{value:.2f}" for value in cell)
        for name, cell in zip(names, cell_values(report, names))
    ]


def absent(report: dict[str, Any], name: str) -> str:
    """What stands in the cell of a column that a report has no number for."""
    return NOT_APPLICABLE if name in report.get("not_applicable", ()) else NOT_RUN


def paper_cells(paper: dict[str, Any], names: Sequence[str]) -> list[str]:
    """The cells of the paper's row for some columns."""
    return [paper["cells"].get(name, "") for name in names]


def outcome(attack: dict[str, Any]) -> str:
    """What was measured of an attack (an entry of ``report["attacks"]``) in words; empty where nothing was."""
    return "; ".join(f"{name} {outcome_text(key, attack[key])}" for key, name in OUTCOMES.items() if key in attack)


def outcome_text(key: str, value: dict[str, Any] | None) -> str:
    """A perturbation's size, a success rate or false alarms in words, with the 95 % interval where there is one."""
    if value is None:
        return ""
    if key == "success":
        rate = "" if value["rate"] is None else f"{value['rate']:.2f} %"
        rate += ", {:.1f}–{:.1f}".format(*ends) if (ends := value.get("interval")) else ""
        return f"{value['fooled']} of {value['of']}" + (f" ({rate})" if rate else "")
    if key == "alarms":
        ends = value.get("interval")
        return f"{value['added']:+.2f} an image" + (f" ({ends[0]:+.2f} to {ends[1]:+.2f})" if ends else "")
    if not value["changed"]:
        return f"none of {value['images']} images changed"
    return (
        f"at most {pixel_fraction(value['linf'])}, mean L2 {value['l2']:.3g}, mean PSNR {value['psnr']:.1f} dB, "
        f"{value['changed']} of {value['images']} images changed"
    )


def settings_text(settings: dict[str, Any]) -> str:
    """An attack's settings in a line."""
    threat = str(settings.get("threat", ""))
    return ", ".join(f"{key}={setting_text(key, value, threat=threat)}" for key, value in settings.items())


def setting_text(key: str, value: Any, *, threat: str) -> str:
    """An attack's setting; a step size as a fraction, as eps is, but under L2, where it is a length of all pixels.

    Args:
        key: its name.
        value: a plain value; an attack inside the attack is text, whose step sizes are written the same way.
        threat: the attack's threat model as text.
    """
    if key == "step_size" and isinstance(value, (int, float)):
        return short(value) if threat.startswith("L2") else pixel_fraction(value)
    return "; ".join(_inner(one, threat) for one in value.split("; ")) if isinstance(value, str) else short(value)


def _inner(settings: str, threat: str) -> str:
    """The settings of one inner attack, which may name a threat model of its own."""
    named = INNER_THREAT.search(settings)
    norm = named[1] if named else threat
    return INNER_STEP.sub(lambda size: "step_size=" + setting_text("step_size", float(size[1]), threat=norm), settings)


def short(value: Any) -> str:
    """A value in a line of text."""
    if isinstance(value, float):
        return f"{value:z.6g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {short(entry)}" for key, entry in value.items())
    return str(value)
