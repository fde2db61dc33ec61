"""A leaderboard: all reports below a folder on one page, a table that sorts for each way of measuring."""

from __future__ import annotations

import base64
import hashlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from natx.checks.base import RED
from natx.errors import DataError
from natx.evaluation.robust import CLEAN
from natx.report.cells import WORST, cell_values, cells, column_names, report_cells
from natx.report.compare import REPORT, Comparison, Run, compare, read_report
from natx.report.intervals import counts, interval, interval_cells, set_intervals
from natx.report.page import TEMPLATES, render_page
from natx.report.scatter import ScatterPoint, scatter
from natx.runtime.progress import duration

CHECKS, COST, TIME, EPOCHS, SEED = "Checks", "Passes an image", "Judged in", "Epochs", "Seed"
PAGE = "report.html"  # beside a report.json


@dataclass(frozen=True)
class Cell:
    """A cell of a table that sorts.

    Attributes:
        text: what stands in it.
        value: what it is sorted by; None: always last.
        beneath: its interval.
        tone: the style's class of a badge; empty for plain text.
    """

    text: str
    value: float | str | None
    beneath: str = ""
    tone: str = ""


@dataclass(frozen=True)
class BoardRow:
    """A report: its name, the link to it, and its cells."""

    name: str
    link: str
    cells: list[Cell]


def find_reports(folder: Path) -> tuple[list[Run], list[str]]:
    """All reports below a folder, and a remark for each ``report.json`` that is none.

    A file of another name counts where it holds a report; other JSON files are passed over.

    Raises:
        DataError: no such folder, or no report below it.
    """
    if not folder.is_dir():
        raise DataError(f"no folder at {folder}: give one with reports of natx test below it")
    runs, remarks = [], []
    for path in sorted(folder.rglob("*.json")):
        try:
            runs.append(Run(path, read_report(path), path.parent.relative_to(folder).as_posix()))
        except DataError as error:
            if path.name == REPORT:
                remarks.append(f"left out: {error}")
    if not runs:
        raise DataError(f"no report below {folder}: natx test writes them beside the checkpoints, as {REPORT}")
    return runs, remarks


def leaderboard_page(folder: Path, *, out: Path, title: str = "Leaderboard") -> str:
    """The page of all reports below a folder.

    Args:
        folder: searched with all that is below it.
        out: the file that the page will be, from which links to the reports lead.
        title: its heading.

    Raises:
        DataError: see :func:`find_reports`.
    """
    runs, remarks = find_reports(folder)
    tables = compare(runs)
    shown = sum(len(table.reports) for table in tables)
    about = f"{shown} reports, each a row: one checkpoint on one set of images. A column's name sorts by it."
    if shown < len(runs):
        about += f" {len(runs) - shown} more judge such a checkpoint again in the same way, and are left out."
    if len(tables) > 1:
        about += f" They were measured in {len(tables)} different ways: numbers of different tables cannot be compared."
    script = (TEMPLATES / "sort.js").read_text(encoding="utf-8")
    return render_page(
        "leaderboard",
        title=title,
        about=about,
        notes=[f"Note: {remark}." for remark in remarks],
        sections=[_section(i, table, out=out) for i, table in enumerate(tables, start=1)],
        script=Markup(script),  # natx's own file; the policy lets nothing else run
        script_hash=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
    )


def _section(number: int, table: Comparison, *, out: Path) -> dict[str, Any]:
    """What the template shows of reports that were measured alike."""
    runs = [run for row in table.rows for run in row.runs]
    columns = column_names(table.reports)
    headline = WORST if WORST in columns else _lowest(runs, columns)
    early = [name for name in (headline, CLEAN) if name in columns]
    columns = [*early, *(name for name in columns if name not in early)]
    runs.sort(key=lambda run: -_value(run, headline, absent=-math.inf))
    told = table.conditions
    return {
        "heading": f"{told['data']}, {told['threat']}"
        if number == 1
        else f"{number}. {told['data']}, {told['threat']}",
        "caption": f"{told['images']} images, {told['measure']} in percent, {told['precision']}; beneath a value its "
        "95 % interval.",
        "head": ["Report", *columns, CHECKS, SEED, EPOCHS, COST, TIME],
        "sorted_by": headline,
        "rows": [_row(run, columns, out=out) for run in runs],
        "plot": _plot(runs) if WORST in columns else None,
    }


def _value(run: Run, column: str, *, absent: float) -> float:
    """The first number of a report's cell; ``absent`` where it has none, as reports of other versions may."""
    cell = report_cells(run.report).get(column)
    return absent if cell is None else cell[0]


def _lowest(runs: Sequence[Run], columns: Sequence[str]) -> str:
    """The attack that leaves least of the best model: what a set without a worst case is sorted by."""
    values = {name for run in runs for name in report_cells(run.report)}
    attacks = [name for name in columns if name != CLEAN and name in values] or [CLEAN]
    return min(attacks, key=lambda name: max(_value(run, name, absent=-math.inf) for run in runs))


def _row(run: Run, columns: Sequence[str], *, out: Path) -> BoardRow:
    report, settings = run.report, run.report["settings"]
    parts = zip(cells(report, columns), cell_values(report, columns), interval_cells(report, columns))
    numbers = [Cell(text, None if values is None else values[0], ends) for text, values, ends in parts]
    page = run.path.with_name(PAGE)
    linked = page if run.path.name == REPORT and page.is_file() else run.path
    link = Path(os.path.relpath(linked, out.parent)).as_posix()
    return BoardRow(report["name"], link, [*numbers, _checks(report), *_facts(settings), *_spent(report)])


def _checks(report: dict[str, Any]) -> Cell:
    """How many checks are red; green only where the report may call the model robust."""
    if "checks" not in report:
        return Cell("not audited", None)
    red = sum(check["verdict"] == RED for check in report["checks"])
    tone = "red" if red else "green" if report.get("robust_wording") else "grey"
    return Cell(f"{red} red of {len(report['checks'])}", red, tone=tone)


def _facts(settings: dict[str, Any]) -> list[Cell]:
    """The training's seed and epochs, where the report has them."""
    values = [settings.get(key) for key in ("training_seed", "trained_epochs")]
    return [Cell("" if value is None else str(value), value) for value in values]


def _spent(report: dict[str, Any]) -> list[Cell]:
    """What judging cost: forwards and backwards an image, and the time."""
    attacks, images = report["attacks"], report.get("attacked", report["images"]) or 1
    passes = sum(attack["forwards"] + attack["backwards"] for attack in attacks) / images
    seconds = sum(attack.get("seconds", 0.0) for attack in attacks)
    return [Cell(f"{passes:,.0f}", round(passes, 1)), Cell(duration(seconds), seconds)]


def _plot(runs: Sequence[Run]) -> Any:
    """A point a report that has both: clean against the worst case, with the intervals of both."""
    points = []
    for run in runs:
        values, ends = report_cells(run.report), _ends(run.report)
        if WORST in values:
            x, y = values[CLEAN][0], values[WORST][0]
            points.append(ScatterPoint(run.report["name"], (x, y), ends.get(CLEAN, (x, x)), ends.get(WORST, (y, y))))
    return scatter(points, title="Clean against the worst case", x_name="clean", y_name="worst case")


def _ends(report: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """The interval of each column's first value, where it has one."""
    if "cell" not in report:
        return {name: interval(*share) for name, share in counts(report).items()}
    ends = {name: by_key.get(report["cell"][0]) for name, by_key in set_intervals(report).items()}
    return {name: (pair[0], pair[1]) for name, pair in ends.items() if pair}
