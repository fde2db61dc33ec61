"""Training and judging a study's rows, and reading their reports."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
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
from natx.runtime.files import sha256
from natx.runtime.progress import Meter
from natx.study.rows import Row, Study
from natx.study.times import epoch_report
from natx.study.trainings import Training, opponents, row_training, train_first, undefended

REPORT = "report.json"


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
        UserError: a config or data that do not fit, or a folder with another training.
    """
    if row.config is None:
        return
    if study.attacks is not None:
        study.attack_config(row)  # a missing one is refused now, and not after the training
    training = row_training(study, row, work_dir, seed=seed, options=options)
    done = training.folder / row.report / REPORT
    if study.attacks is not None and done.exists() and (reason := _otherwise(study, row, json.loads(done.read_text()))):
        raise ConfigError(f"{done} {reason}: remove it, or use another --work-dir")
    train_first(training, device=device)
    if study.attacks is None or done.exists():
        return
    attacks = study.attack_config(row)
    for opponent in opponents(study, row, attacks, work_dir, seed=seed, options=options):
        train_first(opponent, device=device)
    vanilla = undefended(study, work_dir, seed=seed, options=options)
    if vanilla is not None:
        train_first(vanilla, device=device)
    report = _judged_before(training, row)
    if report is None:
        weights = None if vanilla is None else vanilla.weights()
        console = Console(stderr=True)
        report = judge(
            training.config,
            training.weights(row.checkpoint),
            attacks,
            device=device,
            name=row.name,
            subset_size=study.subset,
            meter=Meter(console, console.print, enabled=get_dist_info()[0] == 0),
            progress=training.folder / row.report,
            resume=True,
            checks=None if study.audit is None else AuditOptions(study.audit.images, vanilla=weights),
        )
    report["settings"]["asked"] = _question(study, row)
    barrier()
    if get_dist_info()[0] == 0:
        write_report(training.folder / row.report, report)
        clear_progress(training.folder / row.report)
    barrier()


def _question(study: Study, row: Row) -> str:
    """Hash (16 hex digits) of what is asked of a row, as configs say it: attacks, images and checks."""
    attacks = {key: value for key, value in plain_dict(study.attack_config(row)).items() if key != "paper"}
    audit = None if study.audit is None else vars(study.audit)
    text = json.dumps([attacks, study.subset, audit], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _otherwise(study: Study, row: Row, report: dict[str, Any]) -> str | None:
    """That a report answers another question than the study asks now; None where it does not, or does not say."""
    question = report.get("settings", {}).get("asked")
    if question is None or study.missing() or question == _question(study, row):
        return None
    return "was judged by other attacks, images or checks"


def _judged_before(training: Training, row: Row) -> dict[str, Any] | None:
    """The report of the training's other checkpoint where that is the same file: the best epoch was the last."""
    other = training.folder / (row.report.removesuffix("-last") if row.checkpoint == "last" else f"{row.report}-last")
    path, weights = other / REPORT, training.weights(row.checkpoint)
    if not path.exists():
        return None
    report = json.loads(path.read_text())
    if report["settings"]["checkpoint_sha256"] != sha256(weights):
        return None
    return {**report, "name": row.name, "settings": {**report["settings"], "checkpoint": str(weights)}}


@dataclass
class RowReports:
    """What there is of a row.

    Attributes:
        row: the row.
        reports: one a seed; None where it has not been run.
        remarks: on what lies in its folders and does not count.
    """

    row: Row
    reports: list[dict[str, Any] | None] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def row_reports(study: Study, row: Row, work_dir: Path, *, options: dict[str, Any] | None) -> RowReports:
    """The reports of a row with every seed; those of trainings under other configs do not count.

    Args:
        study: the study.
        row: one of its rows.
        work_dir: the study's folder.
        options: overrides of every training config.
    """
    result = RowReports(row)
    for seed in study.seeds:
        report = _read(study, row, work_dir / f"seed{seed}" / row.folder)
        if report is not None:
            training = row_training(study, row, work_dir, seed=seed, options=options)
            if reason := training.foreign():
                result.remarks.append(f"{reason}: not shown")
                report = None
            elif study.attacks is not None and (reason := _otherwise(study, row, report)):
                result.remarks.append(f"{training.folder / row.report / REPORT} {reason}: not shown")
                report = None
        result.reports.append(report)
    return result


def _read(study: Study, row: Row, folder: Path) -> dict[str, Any] | None:
    if row.config is None:
        return None
    if study.attacks is None:
        return epoch_report(folder, study.columns[0])
    path = folder / row.report / REPORT
    return json.loads(path.read_text()) if path.exists() else None
