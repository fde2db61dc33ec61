"""Comparisons: reports side by side, mean and deviation over seeds; what was measured differently stays apart."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from natx.errors import DataError
from natx.report.cells import absent, cell_values, column_names, short
from natx.report.conditions import conditions, difference
from natx.report.summary import mean_and_deviation

REPORT = "report.json"
NEEDED = ("name", "threat", "images", "columns", "attacks", "settings", "provenance")
UNKNOWN = "unknown"  # a seed that the checkpoint does not tell
SHARED = ("device", "packages")  # of the provenance: what may differ within a table, and is then said


@dataclass(frozen=True)
class Run:
    """A report and the file that it was read from.

    Attributes:
        path: the report.json.
        report: its content.
        place: its folder, as far as it differs from those of the others.
    """

    path: Path
    report: dict[str, Any]
    place: str

    @property
    def label(self) -> str:
        """The training's seed where the report knows it, and the place."""
        seed = self.report["settings"].get("training_seed")
        return self.place if seed is None else f"seed {seed}, {self.place}"


@dataclass
class Row:
    """Runs of the same training that differ in its seed.

    Attributes:
        name: the row's name in a table.
        runs: one a seed.
    """

    name: str
    runs: list[Run] = field(default_factory=list)

    def cells(self, columns: Sequence[str]) -> list[str]:
        """Mean and standard deviation over the runs: ``52.30 ± 0.40``, or ``68.92 ± 0.10/88.25 ± 0.20``."""
        over_runs = zip(*(cell_values(run.report, columns) for run in self.runs))
        return [
            absent(self.runs[0].report, name) if None in c else "/".join(mean_and_deviation(v) for v in zip(*c))
            for name, c in zip(columns, over_runs)
        ]


@dataclass
class Comparison:
    """A table: rows whose numbers were measured alike.

    Attributes:
        conditions: how they were measured, as text by name.
        reason: what differs from the first table's conditions; empty for the first.
        rows: the rows.
        notes: what a reader must know of them.
    """

    conditions: dict[str, str]
    reason: str = ""
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def reports(self) -> list[dict[str, Any]]:
        """All reports, row by row."""
        return [run.report for row in self.rows for run in row.runs]


def read_runs(paths: Sequence[Path]) -> list[Run]:
    """The reports in files or folders.

    Raises:
        DataError: no file or folder, no report in it, not JSON, no report, or the same file twice.
    """
    files = [path / REPORT if path.is_dir() else path for path in paths]
    whole = [path.resolve() for path in files]
    for i, path in enumerate(files):
        if whole[i] in whole[:i]:
            raise DataError(f"{path} is given twice: give each report once")
    reports = [read_report(path) for path in files]
    shared = os.path.commonpath([path.parent.parent for path in whole]) if whole else ""
    places = [str(path.parent.relative_to(shared)) for path in whole]
    if len(set(places)) < len(places):  # files of other names in one folder
        places = [str(path.relative_to(shared)) for path in whole]
    return [Run(*run) for run in zip(files, reports, places)]


def read_report(path: Path) -> dict[str, Any]:
    """A report from its file.

    Raises:
        DataError: no such file, not JSON, or no report.
    """
    try:
        if not path.is_file():
            below = sorted(path.parent.glob(f"*/{REPORT}")) if path.name == REPORT else []
            hint = f"; there is {below[0]}" if below else ""
            raise DataError(f"no report at {path}: give the folder or the report.json that natx test wrote{hint}")
        report = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise DataError(f"{path} is no report: give the report.json that natx test wrote") from error
    except ValueError as error:
        raise DataError(f"{path} is no JSON ({error}): give the report.json that natx test wrote") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): give a report.json that can be") from error
    missing = [key for key in NEEDED if key not in report] if isinstance(report, dict) else list(NEEDED)
    if missing:
        raise DataError(f"{path} is no report, it lacks {', '.join(missing)}: give what natx test wrote")
    wrong = [key for key, fits in _fits(report).items() if not fits]
    if wrong:
        raise DataError(f"{path} is no report, of another kind are {', '.join(wrong)}: give what natx test wrote")
    return report


def _fits(report: dict[str, Any]) -> dict[str, bool]:
    """Whether the parts of a report that a comparison reads are what natx test writes."""

    def all_have(key: str, needed: set[str]) -> bool:
        entries = report[key]
        return isinstance(entries, list) and all(isinstance(one, dict) and needed <= one.keys() for one in entries)

    return {
        "columns": all_have("columns", {"name", "values" if "cell" in report else "accuracy"}),
        "attacks": all_have("attacks", {"columns", "settings", "forwards", "backwards"}),
        "settings": isinstance(report["settings"], dict),
        "provenance": isinstance(report["provenance"], dict),
    }


def compare(runs: Sequence[Run]) -> list[Comparison]:
    """Tables of rows; reports go into one table only if data, images, threat model and attacks are the same.

    Reports with the same name, config, fingerprint of the config without its seed and kind of checkpoint are seeds of
    one row. A checkpoint counts once.
    """
    tables: list[Comparison] = []
    for run in runs:
        measured = conditions(run.report)
        table = next((one for one in tables if one.conditions == measured), None)
        if table is None:
            table = Comparison(measured, difference(tables[0].reports[0], run.report) if tables else "")
            tables.append(table)
        _place(table, run)
    for table in tables:
        _distinct_names(table.rows)
        table.notes += _shared_notes(table)
        table.notes += [note for row in table.rows for note in _seed_notes(row)]
        unsure = [row.name for row in table.rows if len(row.runs) > 1 and not _training(row.runs[0].report)[2]]
        if unsure:
            table.notes.append(f"seeds of one row by name and config alone, without a fingerprint: {'; '.join(unsure)}")
        table.notes += _machine_notes(table)
    return tables


def _place(table: Comparison, run: Run) -> None:
    """Put a run into its row."""
    for row in table.rows:
        if _training(row.runs[0].report) != _training(run.report):
            continue
        weights = run.report["settings"].get("checkpoint_sha256")
        same = [other for other in row.runs if weights and other.report["settings"].get("checkpoint_sha256") == weights]
        if same:
            table.notes.append(f"{run.path} judges the same checkpoint as {same[0].path}: counted once")
        else:
            row.runs.append(run)
        return
    table.rows.append(Row(run.report["name"], [run]))


def _training(report: dict[str, Any]) -> tuple[str, str, str, str]:
    """What seeds of the same training share: name, config, its fingerprint without the seed, best or last."""
    settings = report["settings"]
    config, checkpoint = (Path(str(settings.get(key, ""))).stem for key in ("config", "checkpoint"))
    return report["name"], config, str(settings.get("config_fingerprint", "")), checkpoint


def _distinct_names(rows: list[Row]) -> None:
    """Rows of other trainings under the same name say what tells them apart."""
    names = [row.name for row in rows]
    for row in rows:
        if names.count(row.name) > 1:
            _, config, fingerprint, checkpoint = _training(row.runs[0].report)
            row.name += " (" + ", ".join(part for part in (config, fingerprint, checkpoint) if part) + ")"


def _shared_notes(table: Comparison) -> list[str]:
    """What every report remarks on: it is of the images that all were measured on (what a ranking at random gives)."""
    first, *others = (report.get("notes", []) for report in table.reports)
    return [note for note in first if all(note in notes for notes in others)]


def _seed_notes(row: Row) -> list[str]:
    """Remarks on the seeds of a row."""
    settings = [run.report["settings"] for run in row.runs]
    seeds = [seed for s in settings if (seed := s.get("training_seed")) not in (None, UNKNOWN)]
    notes = []
    if len(set(map(str, seeds))) < len(seeds):
        notes.append(f"{row.name}: some of its checkpoints were trained with the same seed")
    if len({s.get("seed") for s in settings}) > 1:
        notes.append(f"{row.name}: the attacks were seeded differently")
    return notes


def _machine_notes(table: Comparison) -> list[str]:
    """Machines and packages that differ within a table."""
    notes = []
    for key in SHARED:
        values = list(dict.fromkeys(short(report["provenance"].get(key, "unknown")) for report in table.reports))
        if len(values) > 1:
            notes.append(f"{key} differ: {' | '.join(values)}")
    return notes


def shown_columns(table: Comparison) -> list[str]:
    """The columns of a comparison."""
    return column_names(table.reports)
