"""A report as one page that opens anywhere: everything in it, nothing to load, readable on a phone and in the dark."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from natx.checks.base import GREEN, RED
from natx.checks.text import level_line, wording
from natx.evaluation.robust import CLEAN
from natx.report.cells import WORST, cells, column_names, outcome, paper_cells, report_cells, settings_text, short
from natx.report.charts import eps_chart, step_chart, step_lines, sweep_line
from natx.report.embedded import Picture, embed
from natx.report.intervals import INTERVAL, counts, interval_cells
from natx.report.page import render_page
from natx.report.text import explanation, meanings, values_table, worst_outcome
from natx.runtime.progress import duration

COST = ("forwards", "backwards", "seconds")
ORDER = {RED: 0, GREEN: 1}  # of the checks; others come last


def report_page(report: dict[str, Any], *, folder: Path) -> str:
    """The page of a report.

    Args:
        report: the content of report.json.
        folder: where its pictures lie.
    """
    sweep = sweep_line(report)
    charts = [step_chart(step_lines(report)), eps_chart([sweep] if sweep else [], threat=report["threat"])]
    checks = sorted(report.get("checks", ()), key=lambda check: ORDER.get(check["verdict"], 2))
    return render_page(
        "report",
        title=report["name"],
        explanation=explanation(report).replace("**", ""),
        tiles=_tiles(report),
        wording=wording(report) if "checks" in report else "",
        tone=_tone(report) if "checks" in report else "",
        notes=[f"Note: {note}." for note in report.get("notes", ())],
        results=_results(report),
        values=values_table(report) if "cell" in report else None,
        meanings=meanings(report),
        worst=worst_outcome(report),
        strength=[chart for chart in charts if chart],
        checks=checks,
        level=level_line([report]) if checks else "",
        pictures=_pictures(report, folder),
        attacks=attack_settings(report),
        costs=_costs(report["attacks"]),
        settings=[(key, short(value)) for key, value in report["settings"].items()],
        provenance=provenance_facts(report["provenance"]),
    )


def _tone(report: dict[str, Any]) -> str:
    """The style of what the checks say together."""
    verdicts = [check["verdict"] for check in report["checks"]]
    return "red" if RED in verdicts else "green" if report.get("robust_wording") else "grey"


def _tiles(report: dict[str, Any]) -> list[tuple[str, str]]:
    """The few numbers to see first, each with its name."""
    names = column_names([report])
    texts = dict(zip(names, cells(report, names)))
    tiles = [(texts[CLEAN], CLEAN)]
    if WORST in texts:
        tiles.append((texts[WORST], WORST))
    elif attacked := {name: cell[0] for name, cell in report_cells(report).items() if name != CLEAN}:
        lowest = min(attacked, key=attacked.__getitem__)
        tiles.append((texts[lowest], f"Lowest: {lowest}"))
    tiles.append((str(report["images"]), "Test images"))
    if "attacked" in report:
        tiles.append((str(report["attacked"]), "Attacked"))
    if "checks" in report:
        red = sum(check["verdict"] == RED for check in report["checks"])
        tiles.append((f"{red} of {len(report['checks'])}", "Red checks"))
    return tiles


def _results(report: dict[str, Any]) -> dict[str, Any]:
    """A row a column of the evaluation, the paper's cell beside ours where the report has any."""
    names, paper = column_names([report]), report.get("paper")
    single = "cell" not in report
    what = "Accuracy" if single else "/".join(report["cell"])
    printed = paper_cells(paper, names) if paper else [None] * len(names)
    values, shares = report_cells(report), counts(report)
    intervals = dict(zip(names, interval_cells(report, names)))
    rows = [
        {
            "name": name,
            "headline": name == WORST,
            "cell": cell,
            "printed": theirs,
            "percent": min(100.0, max(0.0, values[name][0])) if single and name in values else None,
            "count": "{} of {}".format(*shares[name]) if name in shares else "",
            "interval": intervals[name],
        }
        for name, cell, theirs in zip(names, cells(report, names), printed)
    ]
    return {
        "head": [
            "",
            f"{what} (%)",
            *([paper["name"]] if paper else []),
            *(["", INTERVAL, "images"] if single else [INTERVAL] * any(intervals.values())),
        ],
        "rows": rows,
        "single": single,
        "intervals": any(intervals.values()),
        "caption": f"{what} in percent, {report['threat']}",
    }


def _pictures(report: dict[str, Any], folder: Path) -> list[Picture]:
    """The pictures of the attacks."""
    return [
        embed(folder / Path(file).name, title=attack, text=f"Examples without attack and under {attack}")
        for attack, file in report.get("pictures", {}).items()
    ]


def attack_settings(report: dict[str, Any]) -> list[tuple[str, str]]:
    """Every attack's settings, by its columns."""
    return [(", ".join(attack["columns"]), settings_text(attack["settings"])) for attack in report["attacks"]]


def _costs(attacks: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """What each attack spent, and all together; what was measured of it and its notes, where there are any."""
    total = {key: sum(attack[key] for attack in attacks) for key in COST}
    names = [", ".join(attack["columns"]) for attack in attacks]
    remarks = ["; ".join(text for text in (outcome(attack), *attack["notes"]) if text) for attack in attacks]
    return [
        {
            "name": name,
            "forwards": str(spent["forwards"]),
            "backwards": str(spent["backwards"]),
            "time": duration(spent["seconds"]),
            "seconds": f"{spent['seconds']:.2f} s",
            "remarks": remark,
        }
        for name, spent, remark in zip([*names, "All"], [*attacks, total], [*remarks, ""])
    ]


def provenance_facts(provenance: dict[str, Any]) -> list[tuple[str, str]]:
    """Where numbers come from."""
    packages = ", ".join(f"{key} {value}" for key, value in provenance["packages"].items())
    return [*((key, short(value)) for key, value in provenance.items() if key != "packages"), ("packages", packages)]
