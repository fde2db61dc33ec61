"""Training and judging a study's rows, and reading their reports."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import barrier, get_dist_info
from rich.console import Console

from natx.checks import AuditOptions
from natx.config import plain_dict
from natx.errors import ConfigError
from natx.evaluation.progress import clear_progress
from natx.judging.judge import judge
from natx.report.report import write_report
from natx.runtime.files import read_json, sha256, write_json
from natx.runtime.locks import sole_use
from natx.runtime.progress import Meter
from natx.study.joined import joined
from natx.study.rows import Judging, Row, Study
from natx.study.sparse import measure
from natx.study.times import epoch_report, recipe_of, spent, step_times, timed_by_step
from natx.study.trainings import Training, opponents, row_training, train_first, undefended

REPORT = "report.json"
SPARSITY = "sparsity"  # its folder


def train_row(
    study: Study, row: Row, work_dir: Path, *, seed: int, device: torch.device, options: dict[str, Any] | None
) -> None:
    """Train a row with one seed, and whatever its judging needs, each unless it is done; arguments as :func:`run_row`.

    Raises:
        UserError: a config or data that do not fit, a folder with another training, or a report of another question.
    """
    if row.config is None:
        return
    training = row_training(study, row, work_dir, seed=seed, options=options)
    for judging in study.judgings:  # what would be refused after the training is refused now
        judging.config(row)
        done = training.folder / study.report_folder(row, judging) / REPORT
        if done.exists() and (reason := _otherwise(study, row, judging, read_json(done), training)):
            raise ConfigError(f"{done} {reason}: remove it, or use another --work-dir")
    outputs = _outputs(training.folder, row)
    if outputs.exists() and (reason := _measured_otherwise(study, row, read_json(outputs), training)):
        raise ConfigError(f"{outputs} {reason}: remove it, or use another --work-dir")
    train_first(training, device=device)
    for judging in study.judgings:
        if not (training.folder / study.report_folder(row, judging) / REPORT).exists():
            for opponent in opponents(study, row, judging.config(row), work_dir, seed=seed, options=options):
                train_first(opponent, device=device)
    for other in (
        undefended(study, work_dir, seed=seed, options=options),
        sparsity_adversary(study, work_dir, seed=seed, options=options),
    ):
        if other is not None:
            train_first(other, device=device)


def run_row(
    study: Study, row: Row, work_dir: Path, *, seed: int, device: torch.device, options: dict[str, Any] | None
) -> None:
    """Train and judge a row with one seed, each unless it is done.

    Args:
        study: the study.
        row: one of its rows; one without a config is left alone.
        work_dir: the study's folder; the row trains in ``seed<N>/<folder>`` there.
        seed: the seed of the row and, in a table, of its frozen models.
        device: where to run.
        options: overrides of every training config.

    Raises:
        UserError: see :func:`train_row`.
    """
    train_row(study, row, work_dir, seed=seed, device=device, options=options)
    if row.config is None:
        return
    training = row_training(study, row, work_dir, seed=seed, options=options)
    for judging in study.judgings:
        folder = training.folder / study.report_folder(row, judging)
        if (folder / REPORT).exists():
            continue
        with sole_use(folder, work="an evaluation"):
            if (folder / REPORT).exists():  # made by the one that held the folder last
                continue
            attacks = judging.config(row)
            opponents(study, row, attacks, work_dir, seed=seed, options=options)  # gives the attacks their weights
            report = _judged_before(training, row, judging, study)
            if report is None:
                vanilla = undefended(study, work_dir, seed=seed, options=options)
                weights = None if vanilla is None else vanilla.weights()
                report = judge(
                    training.config,
                    training.weights(row.checkpoint),
                    attacks,
                    device=device,
                    name=row.name,
                    subset_size=judging.subset,
                    batch_size=judging.batch_size,
                    meter=_meter(),
                    progress=folder,
                    resume=True,
                    checks=None if study.audit is None else AuditOptions(study.audit.images, vanilla=weights),
                )
            report["settings"]["asked"] = _question(study, row, judging)
            report["training"] = spent(training.folder, batch_size=training.config.data.batch_size)
            barrier()
            if get_dist_info()[0] == 0:
                write_report(folder, report)
                clear_progress(folder)
            barrier()
    _measure_sparsity(study, row, training, work_dir, seed=seed, device=device, options=options)


def _measure_sparsity(
    study: Study,
    row: Row,
    training: Training,
    work_dir: Path,
    *,
    seed: int,
    device: torch.device,
    options: dict[str, Any] | None,
) -> None:
    """Measure a row's outputs once, on one process."""
    adversary = sparsity_adversary(study, work_dir, seed=seed, options=options)
    path = _outputs(training.folder, row)
    if adversary is None or study.sparsity is None or path.exists():
        return
    if get_dist_info()[0] == 0:
        measured = measure(
            study.sparsity,
            (training.config, training.weights(row.checkpoint)),
            (adversary.config, adversary.weights()),
            study.judgings[0].config(row),
            device=device,
            meter=_meter(),
        )
        write_json(path, {**measured, "question": _outputs_question(study, row)})
    barrier()


def _meter() -> Meter:
    console = Console(stderr=True)
    return Meter(console, console.print, enabled=get_dist_info()[0] == 0)


def sparsity_adversary(study: Study, work_dir: Path, *, seed: int, options: dict[str, Any] | None) -> Training | None:
    """The training of the row that outputs are compared with; None where they are not measured."""
    if study.sparsity is None:
        return None
    return row_training(study, study.row(study.sparsity.adversary), work_dir, seed=seed, options=options)


def _question(study: Study, row: Row, judging: Judging) -> str:
    """Hash (16 hex digits) of what is asked of a row, as configs say it: attacks, images and checks."""
    attacks = {key: value for key, value in plain_dict(judging.config(row)).items() if key != "paper"}
    audit = None if study.audit is None else vars(study.audit)
    return _hash([attacks, judging.subset, audit])


def _hash(content: Any) -> str:
    """16 hex digits of plain values."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _otherwise(study: Study, row: Row, judging: Judging, report: dict[str, Any], training: Training) -> str | None:
    """That a report is no answer to what the study asks of a training's weights now; None where it is, or says not."""
    settings = report.get("settings", {})
    question, judged = settings.get("asked"), settings.get("checkpoint_sha256")
    if not (question is None or study.missing() or question == _question(study, row, judging)):
        return "was judged by other attacks, images or checks"
    return judged and _of_others(judged, training.weights(row.checkpoint))


def _of_others(digest: str, weights: Path) -> str | None:
    """That a hash is of other weights than a file has now; None where it is not, or where the file is not there."""
    if not weights.exists() or digest == sha256(weights):
        return None
    return f"is of other weights than {weights.name} has now"


def _outputs(folder: Path, row: Row) -> Path:
    """Where the measurement of a row's outputs lies, in its training's folder."""
    return folder / row.report / SPARSITY / REPORT


def _outputs_question(study: Study, row: Row) -> str:
    """Hash of the attack that makes the adversarial images whose outputs are measured, as configs say it."""
    first = plain_dict(study.judgings[0].config(row))
    return _hash([first.get("threat"), first["attacks"][0]])


def _measured_otherwise(study: Study, row: Row, measured: dict[str, Any], training: Training) -> str | None:
    """That outputs were measured in another way than the study asks now; None where not, or where nothing asks."""
    if study.sparsity is None or study.missing():
        return None
    if measured["asked"] == vars(study.sparsity) and measured.get("question") in (None, _outputs_question(study, row)):
        own = measured.get("checkpoints", [None])[0]
        return own and _of_others(own, training.weights(row.checkpoint))
    return "was measured beside another row, on other images or otherwise than the study asks now"


def _judged_before(training: Training, row: Row, judging: Judging, study: Study) -> dict[str, Any] | None:
    """The report of the training's other checkpoint where that is the same file: the best epoch was the last."""
    other = row.report.removesuffix("-last") if row.checkpoint == "last" else f"{row.report}-last"
    path = training.folder / study.report_folder(replace(row, report=other), judging) / REPORT
    weights = training.weights(row.checkpoint)
    if not path.exists():
        return None
    report = read_json(path)
    if report["settings"]["checkpoint_sha256"] != sha256(weights):
        return None
    return {**report, "name": row.name, "settings": {**report["settings"], "checkpoint": str(weights)}}


@dataclass
class RowReports:
    """What there is of a row.

    Attributes:
        row: the row.
        reports: one a seed, of all judgings together; None where it has not been run.
        sparsity: what was measured of the outputs, one a seed; None where it was not.
        remarks: on what lies in its folders and does not count.
    """

    row: Row
    reports: list[dict[str, Any] | None] = field(default_factory=list)
    sparsity: list[dict[str, Any] | None] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def row_reports(study: Study, row: Row, work_dir: Path, *, options: dict[str, Any] | None) -> RowReports:
    """The reports of a row with every seed; those of trainings under other configs, or of other weights, do not count.

    Args:
        study: the study.
        row: one of its rows.
        work_dir: the study's folder.
        options: overrides of every training config.
    """
    result, recipe = RowReports(row), recipe_of(row, step_times(study.step_times), options=options)
    for seed in study.seeds:
        parts, sparsity = _read(study, row, work_dir / f"seed{seed}" / row.folder)
        if parts or sparsity:
            training = row_training(study, row, work_dir, seed=seed, options=options)
            if reason := training.foreign():
                result.remarks.append(f"{reason}: not shown")
                parts, sparsity = {}, None
        if sparsity and (reason := _measured_otherwise(study, row, sparsity, training)):
            result.remarks.append(f"{_outputs(training.folder, row)} {reason}: not shown")
            sparsity = None
        for judging in [judging for judging in study.judgings if judging in parts]:
            if reason := _otherwise(study, row, judging, parts[judging], training):
                path = training.folder / study.report_folder(row, judging) / REPORT
                result.remarks.append(f"{path} {reason}: not shown")
                del parts[judging]
        several = [*parts.values()]
        alone = len(study.judgings) < 2
        report = next(iter(several), None) if alone else joined(several, of=len(study.judgings))
        result.reports.append(report and timed_by_step(report, recipe))
        result.sparsity.append(sparsity)
    return result


def _read(study: Study, row: Row, folder: Path) -> tuple[dict[Judging | None, dict[str, Any]], dict[str, Any] | None]:
    """The reports in a training's folder by judging (None for the times of a study without any), and the sparsity."""
    if row.config is None:
        return {}, None
    if not study.judgings:
        report = epoch_report(folder, study.columns[0])
        return ({} if report is None else {None: report}), None
    paths = {judging: folder / study.report_folder(row, judging) / REPORT for judging in study.judgings}
    outputs = _outputs(folder, row)
    parts: dict[Judging | None, dict[str, Any]] = {
        judging: read_json(path) for judging, path in paths.items() if path.exists()
    }
    return parts, read_json(outputs) if study.sparsity and outputs.exists() else None
