"""What a study shows: every number of ours is read from the files of its runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from natx.report.intervals import over_what
from natx.report.needed import needed_table
from natx.report.paired import findings, paired_table
from natx.report.set_values import set_values_table
from natx.report.summary import Beside, mean_and_deviation, summary_table, with_average
from natx.report.tables import Table
from natx.runtime.progress import amount
from natx.study.costs import Counted, costs_table, minutes
from natx.study.joined import with_worst_case_of_all
from natx.study.rivals import Rivals, Tested, differences, rivals_reading, rivals_table
from natx.study.rows import Study
from natx.study.run import RowReports, row_reports
from natx.study.sparse import sparsity_table

Report = dict[str, Any]


@dataclass
class Group:
    """The rows of a study that stand in one table.

    Attributes:
        title: its heading; empty where a study has one group.
        explanation: what the table shows; empty where nothing has been run.
        table: a row a training.
        notes: what a reader must know.
        each: a row a seed; None where there is one seed, or nothing to show.
        paired: every row against every other on the same images; None where reports hold no outcomes.
        needed: what it would take to see the differences between rows; None where nothing is judged.
        rivals: each row against its rival; None where there are none.
        values: every value of the set's metric; None where the metric has no more than the table.
        sparsity: what the rows' outputs look like; None where that is not measured.
    """

    title: str
    explanation: str
    table: Table
    notes: list[str] = field(default_factory=list)
    each: Table | None = None
    paired: Table | None = None
    needed: Table | None = None
    rivals: Table | None = None
    sparsity: Table | None = None
    values: Table | None = None


@dataclass
class StudyContent:
    """A study as far as it has been run.

    Attributes:
        title: its heading.
        about: what it asks.
        command: what made it.
        missing: that nothing can be judged, and why; empty where it can.
        reading: what rows with rivals and the rows of rankings show, in sentences.
        groups: its tables.
        audited: reports with checks, by the model's name.
        costs: what each row spent.
        machine: what it ran on; empty where nothing has been run.
    """

    title: str
    about: str
    command: str
    missing: str
    groups: list[Group]
    audited: dict[str, Report]
    costs: Table
    machine: str = ""
    reading: list[str] = field(default_factory=list)


def made_by(*words: str, options: dict[str, Any] | None) -> str:
    """A command line as it is printed in what it made."""
    overrides = ["--cfg-options", *(f"{key}={value}" for key, value in options.items())] if options else []
    return " ".join([*words, *overrides])


def study_content(study: Study, work_dir: Path, *, command: str, options: dict[str, Any] | None = None) -> StudyContent:
    """Read what there is of a study; a group for each group of rows.

    Args:
        study: the study.
        work_dir: its folder.
        command: what made it.
        options: overrides of every training config.
    """
    rows = [row_reports(study, row, work_dir, options=options) for row in study.rows]
    if len(study.judgings) > 1:
        for one, reports in zip(rows, with_worst_case_of_all([one.reports for one in rows])):
            one.reports = reports
    if study.average:
        for one in rows:
            one.reports = [r and with_average(r, study.columns, name=study.average) for r in one.reports]
    counted, tested = Counted(options), differences(_rivals(study, rows))
    groups = [
        _group(study, title, [one for one in rows if one.row.group == title], counted=counted, tested=tested)
        for title in dict.fromkeys(row.group for row in study.rows)
    ]
    present = [report for one in rows for report in one.reports if report]
    return StudyContent(
        title=study.title,
        about=study.about,
        command=command,
        missing=study.missing() or "",
        groups=groups,
        audited=_audited(study, rows),
        costs=costs_table(rows, counted=counted),
        machine=machines([report["provenance"] for report in present]),
        reading=[*rivals_reading(tested), *_rankings_reading(study, rows)],
    )


def machines(provenances: Sequence[dict[str, Any]]) -> str:
    """What reports were made on, with every device, number of threads and version that occurs; empty without any."""

    def every(values: Iterable[Any]) -> str:
        return " or ".join(dict.fromkeys(map(str, values)))

    if not provenances:
        return ""
    device, threads = (every(one[key] for one in provenances) for key in ("device", "threads"))
    names = dict.fromkeys(name for one in provenances for name in one["packages"])
    versions = {name: every(one["packages"][name] for one in provenances if name in one["packages"]) for name in names}
    packages = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"Run on {device}, {threads} thread(s); {packages}."


def _rivals(study: Study, rows: Sequence[RowReports]) -> list[Rivals]:
    """The rows that have a rival in the study, with the reports that there are of both."""
    reports = {one.row.key: [report for report in one.reports if report] for one in rows}
    return [
        Rivals(
            one.row.name,
            study.row(one.row.rival).name,
            reports[one.row.key],
            reports.get(one.row.rival, []),
            group=one.row.group,
        )
        for one in rows
        if one.row.rival is not None
    ]


def _rankings_reading(study: Study, rows: Sequence[RowReports]) -> list[str]:
    """What the rows of a ranking's study show, group by group, and what their nasty terms came to."""
    sentences = []
    for title in dict.fromkeys(row.group for row in study.rows):
        reports = {one.row.name: [r for r in one.reports if r] for one in rows if one.row.group == title}
        if not (about := findings(reports)):
            continue
        reached = {
            name: [share for r in several if (share := _share(r)) is not None] for name, several in reports.items()
        }
        parts = [f"{name} {mean_and_deviation(shares)}" for name, shares in reached.items() if shares]
        how = "the nasty term's gradient on the class logits over the task's, in the last epoch (median over rows)"
        about += [f"{how}: {', '.join(parts)}"] if parts else []
        sentences += [f"{title}: {line}." if title else f"{line[:1].upper()}{line[1:]}." for line in about]
    return sentences


def _share(report: Report) -> float | None:
    """The share of the gradient that a nasty term held in the last epoch of a report's training."""
    return ((report.get("training") or {}).get("last_epoch") or {}).get("nasty_share")


def _sparsity(study: Study, rows: Sequence[RowReports]) -> Table | None:
    """What was measured of the rows' outputs."""
    if study.sparsity is None:
        return None
    by_row = {
        one.row.name: [
            (measured, (report or {}).get("training"))
            for measured, report in zip(one.sparsity, one.reports)
            if measured
        ]
        for one in rows
    }
    return sparsity_table(study.sparsity, by_row, adversary=study.row(study.sparsity.adversary).name)


def _group(
    study: Study, title: str, rows: Sequence[RowReports], *, counted: Counted, tested: Sequence[Tested]
) -> Group:
    """One group of rows; ``tested`` are the rivals of all groups."""
    columns = [*study.columns, *([study.average] if study.average else [])]
    labelled = {
        f"{one.row.name}, seed {seed}": report
        for one in rows
        for seed, report in zip(study.seeds, one.reports)
        if report
    }
    trained = [one for one in rows if one.row.config]
    beside = []
    if study.table:
        beside.append(Beside("passes", {one.row.name: " + ".join(map(amount, counted(one.row))) for one in trained}))
    if "units" in study.beside:
        beside.append(Beside("units", {one.row.name: amount(counted.units(one.row)) for one in trained}))
    if "minutes" in study.beside:
        beside.append(Beside("minutes", {one.row.name: minutes(one) for one in trained}))
    table = summary_table(
        {one.row.name: one.reports if one.row.config else one.row.reason for one in rows},
        names=columns,
        paper={one.row.name: one.row.printed for one in rows},
        beside=beside,
        caption=title or study.title,
    )
    notes = [one.row.note for one in rows if one.row.note]
    notes += [remark for one in rows for remark in one.remarks]
    each = {
        f"{one.row.name}, seed {seed}": [report]
        for one in rows
        if one.row.config
        for seed, report in zip(study.seeds, one.reports)
        if report or not study.table  # a whole table of the paper would be mostly of what has not been run
    }
    reports = {one.row.name: [report for report in one.reports if report] for one in rows}
    return Group(
        title,
        _explanation(study, rows, list(labelled.values())) if labelled else "",
        table,
        list(dict.fromkeys([*notes, *_remarks(labelled)])),
        summary_table(each, names=columns, caption="Each seed") if each and len(study.seeds) > 1 else None,
        paired=paired_table(reports),
        needed=needed_table(reports) if study.judgings else None,
        rivals=rivals_table(
            [(pair, by_column) for pair, by_column in tested if pair.group == title],
            count=sum(len(by_column) for _, by_column in tested),
        ),
        sparsity=_sparsity(study, rows),
        values=set_values_table(reports),
    )


def checkpoint_choice(rows: Sequence[RowReports]) -> str:
    """How the checkpoints that were judged were chosen; rows that differ in it are named."""
    names: dict[str, list[str]] = {}
    for one in rows:
        for selection in dict.fromkeys(report["settings"]["selected_on"] for report in one.reports if report):
            choice = "the last epoch's" if selection.startswith("nothing") else f"chosen on {selection}"
            names.setdefault(choice, []).append(one.row.name)
    if len(names) < 2:
        return "".join(names)
    return "; ".join(f"{choice} ({', '.join(of)})" for choice, of in names.items())


def threats_text(rows: Sequence[RowReports]) -> str:
    """The threat models of a table's rows; rows that differ in it are named."""
    names: dict[str, list[str]] = {}
    for one in rows:
        for threat in dict.fromkeys(report["threat"] for report in one.reports if report):
            names.setdefault(threat, []).append(one.row.name)
    if len(names) < 2:
        return "".join(names)
    return "; ".join(f"{threat} ({', '.join(of)})" for threat, of in names.items())


def _explanation(study: Study, rows: Sequence[RowReports], reports: Sequence[Report]) -> str:
    """What a table shows, from its reports and from how the checkpoints were chosen."""
    report = next((report for report in reports if "worst_case" in report), reports[0])
    if not study.judgings:
        return f"{report['cell'][0]}: the steps alone, without choosing checkpoints; mean and standard deviation."
    data = report["settings"]["data"]
    if "cell" in report:
        unit = "query" if "worst_case_scores" in report else "image"
        headline = f"the headline is the worst case per {unit}" if "worst_case" in report else "each attack by itself"
        what = f"{'/'.join(report['cell'])} in percent, attacks on {data}; {headline}"
    else:
        what = (
            f"Accuracy in percent under {threats_text(rows)} on {data}, success counted at '{report['success']}' step; "
            f"{_headline(study, report)}"
        )
    choice = checkpoint_choice(rows)
    if not study.table:
        spread = "mean and standard deviation over the seeds" if len(study.seeds) > 1 else "one seed"
        sets = over_what(report) if "cell" in report else ""
        return f"{what}. The checkpoint is {choice}; {spread}. {sets}".rstrip()
    return (
        f"{what}. The best checkpoint is {choice}; mean and standard deviation over the seeds, never the best seed. "
        "Passes are the forwards and backwards of an image in a training step."
    )


def _headline(study: Study, report: Report) -> str:
    """What the headline of accuracies is, and on which images, where the columns differ in theirs."""
    if "worst_case" not in report:
        return (
            "numbers of images are in brackets; no worst case, which takes every attack config for every training, "
            "under one threat model and on the first images of the set"
        )
    worst = "the headline is the worst case"
    if len(study.judgings) < 2:
        return worst
    return f"{worst} on the {report['images']} images of all columns, whose numbers of images are in brackets"


def _remarks(reports: dict[str, Report]) -> list[str]:
    """What the reports remark about their set and their attacks; what only some say begins with their names."""
    names_by_note: dict[str, list[str]] = {}
    for name, report in reports.items():
        for note in report.get("notes", []):
            names_by_note.setdefault(note, []).append(name)
    for name, report in reports.items():
        for attack in report["attacks"] if "cell" in report else ():
            for note in attack["notes"]:
                names_by_note.setdefault(f"{', '.join(attack['columns'])}: {note}", []).append(name)
    return [
        note if len(set(names)) == len(reports) else f"{'; '.join(dict.fromkeys(names))}: {note}"
        for note, names in names_by_note.items()
    ]


def _audited(study: Study, rows: Sequence[RowReports]) -> dict[str, Report]:
    """The reports with checks."""
    several = len(study.seeds) > 1
    return {
        f"{one.row.label}, seed {seed}" if several else one.row.label: report
        for one in rows
        for seed, report in zip(study.seeds, one.reports)
        if report and "checks" in report
    }
