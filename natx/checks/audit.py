"""The audit: all checks on one model and its evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from natx.attacks import Attack
from natx.checks import columns, flags, gradients, pipeline, strength
from natx.checks.base import DECISIVE, GREEN, RED, Check, Verdict
from natx.checks.case import Case
from natx.errors import ConfigError
from natx.evaluation.robust import Evaluation
from natx.models.half import in_float32
from natx.models.mode import attack_mode
from natx.runtime.device import forked_rng
from natx.runtime.precision import exact_float32
from natx.runtime.progress import Meter, silent
from natx.task import Task
from natx.threat import NormBall, ThreatModel


@dataclass(frozen=True)
class AuditOptions:
    """What an audit may be told.

    Attributes:
        images: how many images are attacked again.
        draws: random points an image that G15 tries.
        vanilla: weights of a normally trained model of the same config's task, for G5.

    Raises:
        ConfigError: fewer than one image or draw.
    """

    images: int = 200
    draws: int = 10_000
    vanilla: Path | None = None

    def __post_init__(self) -> None:
        if self.images < 1 or self.draws < 1:
            raise ConfigError(f"an audit needs at least 1 image and 1 draw; got {self.images} and {self.draws}")


CHECKS: list[Check] = [
    columns.StepMonotony(),
    columns.AutoAttackGap(),
    columns.MarginBelowPGD(),
    columns.AutoAttackIsLowest(),
    pipeline.VanillaBreaks(),
    strength.EpsSweep(),
    columns.OneStepWeaker(),
    columns.BlackBoxWeaker(),
    gradients.ZeroGradients(),
    strength.LogitScale(),
    strength.Restarts(),
    gradients.Alignment(),
    strength.Convergence(),
    pipeline.Feasible(),
    pipeline.RandomSearch(),
    gradients.Saturation(),
    flags.Randomised(),
    flags.Probabilities(),
    flags.ZeroGradient(),
    flags.SquareHelps(),
    flags.Dynamic(),
    flags.Classes(),
]


@exact_float32()
def audit(
    task: Task,
    dataset: Any,
    *,
    attacks: Sequence[Attack] = (),
    evaluation: Evaluation | None = None,
    threat: ThreatModel | None = None,
    vanilla: Task | None = None,
    images: int = 200,
    draws: int = 10_000,
    batch_size: int = 250,
    meter: Meter | None = None,
) -> list[Verdict]:
    """Ask every check about a model, in eval mode and fp32; deterministic, and the model is left as it was.

    Checks that compare attacks read the evaluation's outcomes of every image; the others attack the first ``images``
    images again. A check that the setting does not support says so.

    Args:
        task: the model. A task whose images are not right or wrong by themselves supports no check.
        dataset: the evaluated images.
        attacks: the evaluation's attacks.
        evaluation: what :func:`natx.evaluation.evaluate` returned for them; None where nothing was evaluated yet.
        threat: the threat model that is claimed; that of the first attack by default.
        vanilla: a normally trained model of the same data, which the attacks must break (G5).
        images: how many images are attacked again.
        draws: random points an image that G15 tries.
        batch_size: images per step.
        meter: progress display.

    Returns:
        One verdict a check, in the order of :data:`CHECKS`.

    Raises:
        ConfigError: a model that is no task, no images, or neither attacks nor a threat model.
    """
    for model in (task, vanilla):
        if model is not None and not isinstance(model, Task):
            raise ConfigError(
                f"this audit is of a natx task; got {type(model).__name__}: of any torch module it is "
                "natx.evaluate(module, images, labels, eps=8 / 255, audit=True)"
            )
    if not task.per_image_success:
        reason = f"an image is not right or wrong by itself for a {type(task).__name__}"
        return [check.not_applicable(reason) for check in CHECKS]
    if images < 1 or len(dataset) < 1:
        raise ConfigError(f"an audit needs at least 1 image; got {images} of a set of {len(dataset)}")
    if threat is None and not attacks:
        raise ConfigError("an audit needs the attacks of the evaluation, or the threat model that is claimed")
    claimed = threat or attacks[0].threat
    if not isinstance(claimed, NormBall):
        reason = f"the checks attack within norm balls, and what is claimed is a {claimed.kind}: {claimed}"
        return [check.not_applicable(reason) for check in CHECKS]
    meter, verdicts = meter or silent(), []
    task, vanilla = in_float32(task)[0], None if vanilla is None else in_float32(vanilla)[0]  # as they are judged
    with _as_it_was(task, vanilla), torch.autocast(next(task.parameters()).device.type, enabled=False):
        case = Case(
            task,
            dataset,
            attacks=attacks,
            threat=claimed,
            evaluation=evaluation,
            vanilla=vanilla,
            images=images,
            draws=draws,
            batch_size=batch_size,
        )
        meter.begin("audit", len(CHECKS))
        for check in CHECKS:
            verdicts.append(check(case))
            meter.advance(1)
        meter.end()
    return verdicts


@contextmanager
def _as_it_was(*tasks: Task | None) -> Iterator[None]:
    """Attack mode; buffers (of a model that trains while it is attacked) and generators are put back too."""
    present = [task for task in tasks if task is not None]
    buffers = [(buffer, buffer.clone()) for task in present for buffer in task.buffers()]
    devices = {parameter.device for task in present for parameter in task.parameters()}
    try:
        with ExitStack() as stack:
            for task in present:
                stack.enter_context(attack_mode(task))
            stack.enter_context(forked_rng(*devices))
            torch.manual_seed(0)  # a randomised model gets the same verdicts each time
            yield
    finally:
        with torch.no_grad():
            for buffer, saved in buffers:
                buffer.copy_(saved)


def robust_wording(verdicts: Sequence[Verdict]) -> bool:
    """Whether a report may say "robust": no check is red, and PGD was held against AutoAttack (G2)."""
    colours = {verdict.id: verdict.verdict for verdict in verdicts}
    return colours.get(DECISIVE) == GREEN and RED not in colours.values()


def audited(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """The entries of report.json: ``checks``, one dict a verdict, and ``robust_wording``."""
    return {"checks": [verdict.plain() for verdict in verdicts], "robust_wording": robust_wording(verdicts)}
