"""From a config, a checkpoint and an attack config to a report."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import get_dist_info

from natx.attacks import Attack
from natx.attacks.base import Success
from natx.checks import AuditOptions, Verdict, audit, audit_queries, audited
from natx.config import JUDGED, check
from natx.data import subset
from natx.data.classes import check_classes
from natx.errors import ConfigError
from natx.evaluation import Evaluation, Metric, SetEvaluation, evaluate, evaluate_set
from natx.evaluation.applicable import OnUnsupported, applied
from natx.evaluation.outcomes import image_fingerprint
from natx.evaluation.progress import Progress
from natx.evaluation.set_progress import SetProgress
from natx.judging.build import build_attacks, build_metric, images_at_once, load_data, load_task, paper_row
from natx.judging.identity import (
    checkpoint_remarks,
    chosen_images,
    decisive,
    normalisation_text,
    training_identity,
)
from natx.judging.overwrite import keep_other_reports
from natx.models.compiled import compilation_notes, compile_network
from natx.models.weights import weights_path
from natx.report.class_pictures import draw_class_pictures
from natx.report.pictures import draw_pictures
from natx.report.report import make_report, make_set_report
from natx.runtime.files import sha256
from natx.runtime.progress import Meter
from natx.runtime.provenance import provenance
from natx.task import Task


def judge(
    config: Config,
    checkpoint: Path,
    attacks: Config,
    *,
    device: torch.device,
    ema: bool = False,
    name: str | None = None,
    subset_size: int | None = None,
    batch_size: int | None = None,
    seed: int | None = None,
    meter: Meter | None = None,
    pictures: Path | None = None,
    progress: Path | None = None,
    resume: bool = False,
    checks: AuditOptions | None = None,
    compiled: bool | str = False,
    paper: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Evaluate a checkpoint on the config's test set; returns the content of report.json.

    Args:
        config: a training config (its ``task``, ``data.test`` and, for set-level tasks, ``metric`` count).
        checkpoint: natx or upstream weights, see :func:`natx.models.weights.read_weights`.
        attacks: an attack config: ``attacks``, and optionally ``threat``, ``success``, ``pool`` and ``on_unsupported``,
            which are explained at :func:`natx.evaluation.evaluate`, and ``sources``: models by name, for attacks that
            look at others.
        device: where to run.
        ema: take the average of the weights that the checkpoint holds beside them.
        name: the row's name in tables.
        subset_size: only so many test images, see :func:`natx.data.subset`.
        batch_size: images per step for attacks whose result does not depend on it; by default the attack config's
            ``batch_size``, or the task's own (:attr:`natx.task.Task.judged_at_once`).
        seed: overrides the attacks' seeds.
        meter: progress display.
        pictures: folder in which examples before and after each attack are drawn.
        progress: folder that the report is for, where one of another checkpoint, subset or attack config is refused; it
            keeps the outcomes of finished blocks of images, or what is predicted of them; to be
            cleared (:func:`natx.evaluation.progress.clear_progress`) once the report is written.
        resume: go on with what that folder holds, if it holds anything; without, a folder that does is refused.
        checks: also run the reliability checks (:func:`natx.checks.audit`), on the first process.
        compiled: compile the network for full batches (:func:`natx.models.compiled.compile_network`), as the report
            then says.
        paper: the paper's row to print beside ours (``name``, and ``cells``: text by column), where neither config has
            one of its own (:func:`natx.judging.build.paper_row`).
    """
    if batch_size is not None and batch_size < 1:
        raise ConfigError(f"--batch-size must be at least 1; got {batch_size}")
    check(config, JUDGED)
    built = build_attacks(attacks, seed=seed, path=attacks.filename or "attack config")
    checkpoint = weights_path(checkpoint)
    if checks is not None and checks.vanilla is not None:
        checks = replace(checks, vanilla=weights_path(checks.vanilla))
    task, meta = load_task(config, checkpoint, ema=ema)
    task.to(device)
    batch_size = images_at_once(batch_size, attacks, task)
    compilation = compile_network(task, sizes=[batch_size], backend=compiled) if compiled else None
    whole, remarks = load_data(config, task)
    dataset = subset(whole, subset_size)
    settings = {
        "config": str(config.filename),
        "config_fingerprint": training_identity(config),
        "training_seed": meta.get("seed", "unknown"),
        "attack_config": str(attacks.filename),
        "checkpoint": str(checkpoint),
        "checkpoint_sha256": sha256(checkpoint),
        "weights": meta["weights"],
        "normalisation": normalisation_text(task),
        "trained_epochs": meta.get("epoch", "unknown"),
        "selected_on": meta.get("selected_on", "unknown"),
        "data": f"{config.data.test.type}, {chosen_images(whole, subset_size)}",
        "data_fingerprint": whole.fingerprint()[:16],
        "images_fingerprint": image_fingerprint(whole, dataset),
        "batch_size": batch_size,
        "seed": built[0].seed,
        "processes": get_dist_info()[1],
        "precision": "float32",
        **({"float32": "exact: TF32 and cudnn.benchmark are off"} if device.type == "cuda" else {}),
        **({"head": meta["head"]} if "head" in meta else {}),
    }
    common: dict[str, Any] = {
        "name": name or Path(config.filename or "model").stem,
        "threat": ", ".join(dict.fromkeys(str(attack.threat) for attack in built)),
        "settings": settings,
        "provenance": provenance(device),
        "paper": paper_row(config, attacks) or paper,
    }
    if progress is not None:
        keep_other_reports(progress, settings, threat=common["threat"])
    remarks += checkpoint_remarks(config, meta, task, threats=[attack.threat for attack in built], dataset=dataset)
    job = _Job(config, attacks, built, task, dataset, batch_size, meter, common, compiled)
    if task.per_image_success:
        report = _judge_images(job, pictures=pictures, progress=progress, resume=resume, checks=checks)
    elif job.pool:
        raise ConfigError(
            f"pool=True is for tasks in which an image by itself is right or wrong; a {type(task).__name__} is "
            "measured over the whole set: leave it out"
        )
    else:
        report = _judge_set(job, pictures=pictures, progress=progress, resume=resume, checks=checks)
    absent = [f"{column} is not applicable: {why}" for column, why in report.get("not_applicable", {}).items()]
    report["notes"] = [*report.get("notes", []), *absent, *remarks, *compilation_notes(compilation)]
    return report


@dataclass
class _Job:
    """What is judged; ``common`` is what every report says."""

    config: Config
    attacks: Config
    built: list[Attack]
    task: Task
    dataset: Any
    batch_size: int
    meter: Meter | None
    common: dict[str, Any]
    compiled: bool | str

    @property
    def success(self) -> Success:
        """The success convention."""
        return self.attacks.get("success", "any")

    @property
    def pool(self) -> bool:
        """Whether only the worst case is wanted; raises ConfigError where that is neither True nor False."""
        return self.attacks.get("pool", False)

    @property
    def on_unsupported(self) -> OnUnsupported:
        """What becomes of attacks that cannot attack the task."""
        return self.attacks.get("on_unsupported", "refuse")

    @property
    def device(self) -> torch.device:
        """Where the task is."""
        return next(self.task.parameters()).device


def _judge_images(
    job: _Job, *, pictures: Path | None, progress: Path | None, resume: bool, checks: AuditOptions | None
) -> dict[str, Any]:
    """The report of a task in which an image by itself is right or wrong; arguments as for :func:`judge`."""
    first = get_dist_info()[0] == 0
    # Weights that do not load are refused before hours of attacks.
    vanilla = _undefended(job, checks) if checks is not None and first else None
    evaluation = evaluate(
        job.task,
        job.dataset,
        job.built,
        batch_size=job.batch_size,
        success=job.success,
        pool=job.pool,
        on_unsupported=job.on_unsupported,
        progress=None if progress is None else Progress(progress, _evaluation(job), resume=resume),
        meter=job.meter,
    )
    report = make_report(evaluation, **job.common)
    if checks is not None and first:
        report["settings"] |= {"audit": _settings(checks)}
        report |= _audit(job, checks, evaluation=evaluation, vanilla=vanilla)
    if pictures is not None and first:
        captions = draw_class_pictures(
            pictures,
            job.task,
            job.dataset,
            applied(job.built, evaluation.not_applicable),
            evaluation=evaluation,
            success=job.success,
        )
        report |= {"pictures": captions} if captions else {}
    return report


def _judge_set(
    job: _Job, *, pictures: Path | None, progress: Path | None, resume: bool, checks: AuditOptions | None
) -> dict[str, Any]:
    """The report of a task that is measured over a whole set; arguments as for :func:`judge`."""
    metric, first = build_metric(job.config), get_dist_info()[0] == 0
    vanilla = _undefended(job, checks) if checks is not None else None  # refused before hours of attacks, as above
    evaluation = evaluate_set(
        job.task,
        job.dataset,
        job.built,
        metric=metric,
        batch_size=job.batch_size,
        on_unsupported=job.on_unsupported,
        intervals=True,
        progress=None if progress is None else SetProgress(progress, _evaluation(job), resume=resume),
        meter=job.meter,
    )
    report = make_set_report(evaluation, metric=metric, **job.common)
    if checks is not None:
        report["settings"] |= {"audit": _settings(checks)}
        report |= audited(_audit_set(job, checks, evaluation=evaluation, metric=metric, vanilla=vanilla))
    if pictures is not None and first and evaluation.examples is not None:
        captions = draw_pictures(pictures, job.dataset, metric, examples=evaluation.examples)
        report |= {"pictures": captions} if captions else {}
    return report


def _evaluation(job: _Job) -> dict[str, Any]:
    """What decides the outcomes of this very evaluation."""
    identity = decisive(job.config, job.attacks, job.built, job.common["settings"])
    compiled = {"compiled": job.compiled} if job.compiled else {}
    return {**identity, "device": job.device.type, "success": job.success, "pool": job.pool, **compiled}


def _audit(job: _Job, checks: AuditOptions, *, evaluation: Evaluation, vanilla: Task | None) -> dict[str, Any]:
    """The entries of a report that the audit makes."""
    verdicts = audit(
        job.task,
        job.dataset,
        attacks=applied(job.built, evaluation.not_applicable),
        evaluation=evaluation,
        vanilla=vanilla,
        images=checks.images,
        draws=checks.draws,
        batch_size=job.batch_size,
        meter=job.meter,
    )
    return audited(verdicts)


def _audit_set(
    job: _Job, checks: AuditOptions, *, evaluation: SetEvaluation, metric: Metric, vanilla: Task | None
) -> list[Verdict]:
    """The verdicts on an evaluation of a whole set; all not applicable where it has no queries."""
    attacks = applied(job.built, evaluation.not_applicable)
    if not evaluation.scores:
        return audit(job.task, job.dataset, attacks=attacks)
    return audit_queries(
        job.task,
        job.dataset,
        metric=metric,
        evaluation=evaluation,
        attacks=attacks,
        vanilla=None if vanilla is job.task else vanilla,
        images=checks.images,
        batch_size=job.batch_size,
        meter=job.meter,
    )


def _settings(checks: AuditOptions) -> dict[str, Any]:
    """The audit's options for the report's settings."""
    numbers = {"images": checks.images, "draws": checks.draws}
    if checks.vanilla is None:
        return numbers
    return {**numbers, "vanilla": str(checks.vanilla), "vanilla_sha256": sha256(checks.vanilla)}


def _undefended(job: _Job, checks: AuditOptions) -> Task | None:
    """A normally trained model of the config's task: the one that was named, or the model itself if it is one."""
    if checks.vanilla is not None:
        vanilla = load_task(job.config, checks.vanilla)[0]
        check_classes(
            job.dataset, vanilla.classes, owner="--vanilla", remedy="give an undefended model of these classes"
        )
        return vanilla.to(job.device)
    method = job.config.get("method") or {}
    plain = method.get("type") == "Standard" and not method.get("terms") and job.config.get("start") is None
    return job.task if plain else None
