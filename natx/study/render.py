"""A study's Markdown: every number of ours is read from the files of its runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from natx.checks.text import markdown_checks_beside
from natx.config import load_config, with_options
from natx.report.cells import NOT_RUN
from natx.report.summary import Beside, summary_table, with_average
from natx.runtime.progress import duration
from natx.study.rows import Row, Study
from natx.study.run import Found, find
from natx.study.trainings import passes

Report = dict[str, Any]


def made_by(*words: str, options: dict[str, Any] | None) -> str:
    """A tool's command line as it is printed in what it made."""
    given = ["--cfg-options", *(f"{key}={value}" for key, value in options.items())] if options else []
    return " ".join(["python", *words, *given])


def render(study: Study, work_dir: Path, *, command: str, options: dict[str, Any] | None = None) -> str:
    """The Markdown of a study as far as it has been run; a section for each group of rows.

    Args:
        study: the study.
        work_dir: its folder.
        command: what made it.
        options: overrides of every training config.
    """
    lines = [f"# {study.title}", "", f"Made by `{command}`."]
    lines += ["", study.about] if study.about else []
    lines += ["", f"Note: {missing}."] if (missing := study.missing()) else []
    found = [find(study, row, work_dir, options=options) for row in study.rows]
    if study.average:
        for one in found:
            one.reports = [r and with_average(r, study.columns, name=study.average) for r in one.reports]
    counted = _Counted(options)
    for group in dict.fromkeys(row.group for row in study.rows):
        lines += _section(study, group, [one for one in found if one.row.group == group], counted=counted)
    lines += _checks(study, found)
    lines += _costs(found, counted=counted)
    known = [report for one in found for report in one.reports if report]
    if known:
        machine = known[0]["provenance"]
        packages = ", ".join(f"{k} {v}" for k, v in machine["packages"].items())
        lines += ["", f"Run on {machine['device']}, {machine['threads']} thread(s); {packages}."]
    return "\n".join(lines) + "\n"


def _section(study: Study, group: str, found: Sequence[Found], *, counted: _Counted) -> list[str]:
    """The lines of one group of rows."""
    columns = [*study.columns, *([study.average] if study.average else [])]
    labelled = {
        f"{one.row.name}, seed {seed}": report
        for one in found
        for seed, report in zip(study.seeds, one.reports)
        if report
    }
    reports = list(labelled.values())
    beside = None
    if study.table:
        cells = {one.row.name: "{:g} + {:g}".format(*counted(one.row)) for one in found if one.row.config}
        beside = Beside("passes", cells)
    lines = ["", f"## {group}"] if group else []
    lines += ["", _explanation(study, reports[0])] if reports else []
    table = summary_table(
        {one.row.name: one.reports if one.row.config else one.row.reason for one in found},
        names=columns,
        paper={one.row.name: one.row.printed for one in found},
        beside=beside,
    )
    said = [one.row.note for one in found if one.row.note]
    said += [remark for one in found for remark in one.remarks]
    lines += ["", table, "", *(f"Note: {note}.\n" for note in dict.fromkeys([*said, *_remarks(labelled)]))]
    each = {
        f"{one.row.name}, seed {seed}": [report]
        for one in found
        if one.row.config
        for seed, report in zip(study.seeds, one.reports)
        if report or not study.table  # a whole table of the paper would be mostly of what has not been run
    }
    if not each or len(study.seeds) < 2:
        return lines
    return [*lines, f"{'###' if group else '##'} Each seed", "", summary_table(each, names=columns), ""]


def _explanation(study: Study, report: Report) -> str:
    """What a table shows, from one of its reports."""
    if study.attacks is None:
        return f"{report['cell'][0]}: the steps alone, without choosing checkpoints; mean and standard deviation."
    data, chosen = report["settings"]["data"], report["settings"]["selected_on"]
    chosen = "the last epoch's" if chosen.startswith("nothing") else f"chosen on {chosen}"
    if "cell" in report:
        what = f"{'/'.join(report['cell'])} in percent, attacks on {data}; each attack by itself"
    else:
        what = (
            f"Accuracy in percent under {report['threat']} on {data}, success counted at '{report['success']}' step; "
            "the headline is the worst case"
        )
    if not study.table:
        spread = "mean and standard deviation over the seeds" if len(study.seeds) > 1 else "one seed"
        return f"{what}. The checkpoint is {chosen}; {spread}."
    return (
        f"{what}. The best checkpoint is {chosen}; mean and standard deviation over the seeds, never the best seed. "
        "Passes are the forwards and backwards of an image in a training step."
    )


def _remarks(reports: dict[str, Report]) -> list[str]:
    """What the reports remark about their set and their attacks; what only some say begins with their names."""
    said: dict[str, list[str]] = {}
    for name, report in reports.items():
        for note in report.get("notes", []):
            said.setdefault(note, []).append(name)
    for name, report in reports.items():
        for attack in report["attacks"] if "cell" in report else ():
            for note in attack["notes"]:
                said.setdefault(f"{', '.join(attack['columns'])}: {note}", []).append(name)
    return [
        note if len(set(names)) == len(reports) else f"{'; '.join(dict.fromkeys(names))}: {note}"
        for note, names in said.items()
    ]


def _checks(study: Study, found: Sequence[Found]) -> list[str]:
    """The verdicts on every model that was audited."""
    several = len(study.seeds) > 1
    audited = {
        f"{one.row.name}, seed {seed}" if several else one.row.name: report
        for one in found
        for seed, report in zip(study.seeds, one.reports)
        if report and "checks" in report
    }
    return markdown_checks_beside(audited) if audited else []


class _Counted:
    """Passes of a training step, counted once for each config and its options."""

    def __init__(self, options: dict[str, Any] | None) -> None:
        self.options, self.known = options or {}, {}

    def __call__(self, row: Row) -> tuple[float, float]:
        """(forwards, backwards) per image and step."""
        key = (row.config, repr(row.options))
        if key not in self.known:
            self.known[key] = passes(with_options(load_config(row.config), {**row.options, **self.options}))
        return self.known[key]


def _costs(found: Sequence[Found], *, counted: _Counted) -> list[str]:
    """What each row spent in training (counted) and in judging (measured, with the first seed)."""
    lines = ["## Cost", "", "| | training per image and step | judging, all attacks |", "|---|---:|---:|"]
    for one in found:
        row = one.row
        if row.config is None:
            continue
        forwards, backwards = counted(row)
        label = f"{row.group}: {row.name}" if row.group else row.name
        lines.append(f"| {label} | {forwards:g} forwards, {backwards:g} backwards | {_judging(one.reports[0])} |")
    return lines


def _judging(report: Report | None) -> str:
    """What judging cost."""
    if report is None:
        return NOT_RUN
    if not report["attacks"]:
        return "none"
    total = {key: sum(attack[key] for attack in report["attacks"]) for key in ("forwards", "backwards", "seconds")}
    return f"{total['forwards']} forwards, {total['backwards']} backwards, {duration(total['seconds'])}"
