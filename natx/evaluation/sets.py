"""Evaluation of whole sets: a metric over all images, clean and with some of them attacked."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.dist import all_gather_object, get_dist_info
from torch import Tensor

from natx.attacks import Attack, Cost
from natx.batch import to_device
from natx.errors import ConfigError, DataError
from natx.evaluation.examples import Examples
from natx.evaluation.metric import Metric
from natx.evaluation.predictions import gathered, replaced
from natx.evaluation.robust import CLEAN, AttackResult, check_columns, share
from natx.evaluation.size import SIZES, realised, summary
from natx.models.mode import attack_mode
from natx.runtime.progress import Meter, silent
from natx.task import Task

EXAMPLES = 4


@dataclass
class SetAttackResult(AttackResult):
    """What one attack did over the whole set; plain values, None for the clean column.

    Attributes:
        perturbation: how large the perturbations became, see :func:`natx.evaluation.size.summary`.
        success: how many images were ``fooled`` ``of`` those that had something to lose, and the ``rate`` (%, None of
            no image); None where the metric does not tell.
    """

    perturbation: dict[str, float | int | None] | None = None
    success: dict[str, float | int | None] | None = None


@dataclass
class SetEvaluation:
    """Outcomes of a set-level evaluation.

    Attributes:
        values: per column the metric's values (%); the first column is clean.
        attacks: one entry per column, in the same order.
        count: images in the set.
        attacked: images that the attacks may change.
        notes: remarks about the set, the data set's own and the metric's.
        examples: the first attacked images under every attack, for pictures; None where no image is attackable.
    """

    values: dict[str, dict[str, float]]
    attacks: list[SetAttackResult]
    count: int
    attacked: int
    notes: list[str]
    examples: Examples | None = None


def attacked_positions(dataset: Any) -> list[int]:
    """Positions of the images that attacks may change: the set's ``attacked`` (query images), or all."""
    positions = getattr(dataset, "attacked", None)
    return list(range(len(dataset))) if positions is None else [int(i) for i in positions]


def evaluate_set(
    task: Task,
    dataset: Any,
    attacks: Sequence[Attack],
    *,
    metric: Metric,
    batch_size: int = 250,
    meter: Meter | None = None,
) -> SetEvaluation:
    """Predict every image clean, then attack some of them and measure again, in eval mode and fp32.

    Images that no attack may change, or that have nothing to lose (:meth:`Metric.attackable`), are predicted once for
    all columns. Each attack is reported by itself: a metric over a set has no worst case per image. With several
    processes each works on every n-th batch, and all return the same result.

    Args:
        task: the model; its modes and gradient flags are restored.
        dataset: anything with ``__len__`` and ``__getitems__(positions) -> batch``.
        attacks: attacks, run in the given order.
        metric: the set's metric.
        batch_size: images per step.
        meter: progress display.

    Raises:
        ConfigError: two attacks share a column, or one asks for several.
        DataError: predictions that are not finite, or attacks and no image to attack.
    """
    check_columns(attacks)
    for attack in attacks:
        if len(attack.columns()) > 1:
            raise ConfigError(f"{attack.name} has milestones, which need per-image success: list one attack a column")
        attack.check(task)
    meter = meter or silent()
    clean, start = SetAttackResult({"type": "Clean"}, [CLEAN]), time.monotonic()
    predictions = predict_all(task, dataset, batch_size=batch_size, meter=meter, cost=clean.cost)
    clean.seconds = time.monotonic() - start
    values, results = {CLEAN: metric(predictions, dataset)}, [clean]
    positions = _attackable(dataset, metric)
    if attacks and not positions:
        raise DataError(f"none of the set's {len(dataset)} images has something that an attack could take: use others")
    shown = _shown(metric.fooled(predictions, predictions, dataset=dataset), positions)
    examples = _examples(task, dataset, predictions, shown)
    for attack in attacks:
        result, start = SetAttackResult(attack.describe(), attack.columns()), time.monotonic()
        result.notes += attack.observe(dataset, predictions)
        found, pixels = _attacked(
            task, dataset, attack, positions, result, shown=shown, batch_size=batch_size, meter=meter
        )
        changed = replaced(predictions, positions, found)
        values[attack.name] = metric(changed, dataset)
        result.success = _success(metric.fooled(predictions, changed, dataset=dataset), positions)
        result.seconds = time.monotonic() - start
        results.append(result)
        examples.add(attack.name, changed, pixels)
    notes = [*getattr(dataset, "notes", []), *metric.notes(dataset, predictions)]
    return SetEvaluation(values, results, len(dataset), len(positions), notes, examples)


def predict_all(
    task: Task, dataset: Any, *, batch_size: int, meter: Meter | None = None, cost: Cost | None = None
) -> Any:
    """Clean predictions of every image in order, on the CPU: a tensor ``[N, ...]`` or a list.

    Raises:
        DataError: predictions that are not finite.
    """
    meter = meter or silent()
    mine, parts = share(list(range(len(dataset))), batch_size), []
    meter.begin(CLEAN, sum(len(block) for block in mine))
    for block in mine:
        parts.append((block, _predict(task, _batch(task, dataset, block))))
        meter.advance(len(block))
    meter.end()
    if cost is not None:
        cost += Cost(forwards=len(dataset))
    return gathered(parts)


def _attackable(dataset: Any, metric: Metric) -> list[int]:
    """Positions of the images that are attacked."""
    positions, able = attacked_positions(dataset), metric.attackable(dataset)
    return positions if able is None else [position for position in positions if able[position]]


def _shown(outcome: tuple[Tensor, Tensor] | None, positions: list[int]) -> list[int]:
    """The first of the attacked images, for the pictures; those with something to lose before the others."""
    if outcome is None:
        return positions[:EXAMPLES]
    at_stake = outcome[0].tolist()
    chosen = sorted(positions, key=lambda position: not at_stake[position])[:EXAMPLES]
    return [position for position in positions if position in chosen]


def _examples(task: Task, dataset: Any, predictions: Any, positions: list[int]) -> Examples | None:
    """The images of the pictures, clean."""
    if not positions:
        return None
    examples = Examples(positions, predictions)
    examples.add(CLEAN, predictions, list(task.pixels(_batch(task, dataset, positions)).cpu()))
    return examples


def _attacked(
    task: Task,
    dataset: Any,
    attack: Attack,
    positions: list[int],
    result: SetAttackResult,
    *,
    shown: list[int],
    batch_size: int,
    meter: Meter,
) -> tuple[Any, list[Tensor]]:
    """Predictions of the attacked images in the order of ``positions``, and the pixels of the images ``shown``."""
    mine, parts, pixels, sizes = share(positions, batch_size), [], [], []
    cost, first = Cost(), shown
    meter.begin(attack.name, sum(len(block) for block in mine))
    for block in mine:
        batch = _batch(task, dataset, block)
        found = attack.judge(task, batch)
        parts.append((block, _predict(task, {**batch, "inputs": found.x_adv})))
        size = realised(task.pixels(batch), found.x_adv, task.perturbable(batch))
        sizes.append((block, torch.stack([size[key] for key in SIZES], 1).cpu()))
        wanted = [row for row, position in enumerate(block) if position in first]
        # Copied, or each would keep the whole batch in memory.
        pixels.append(([block[row] for row in wanted], [found.x_adv[row].clone().cpu() for row in wanted]))
        cost += found.cost
        cost += Cost(forwards=len(block))
        result.notes += [note for note in found.notes if note not in result.notes]
        meter.advance(len(block))
    meter.end()
    shared = [(cost, result.notes)] if get_dist_info()[1] == 1 else all_gather_object((cost, result.notes))
    for spent, notes in shared:
        result.cost += spent
        result.notes = list(dict.fromkeys([*result.notes, *notes]))
    result.perturbation = summary(dict(zip(SIZES, gathered(sizes, order=positions).unbind(1))))
    return gathered(parts, order=positions), gathered(pixels, order=first)


def _success(outcome: tuple[Tensor, Tensor] | None, positions: list[int]) -> dict[str, float | int | None] | None:
    """The success among the attacked images of what :meth:`Metric.fooled` says of all."""
    if outcome is None:
        return None
    at_stake, fooled = outcome[0][positions], outcome[1][positions]
    count, of = int((at_stake & fooled).sum()), int(at_stake.sum())
    return {"fooled": count, "of": of, "rate": 100 * count / of if of else None}


def _batch(task: Task, dataset: Any, positions: list[int]) -> dict[str, Any]:
    return to_device(dataset.__getitems__(positions), next(task.parameters()).device)


def _predict(task: Task, batch: dict[str, Any]) -> Any:
    device = batch["inputs"].device.type
    with attack_mode(task), torch.no_grad(), torch.autocast(device, enabled=False):
        predictions = task.predict(batch)
    if isinstance(predictions, Tensor):
        if not bool(torch.isfinite(predictions).all()):
            raise DataError("the model predicts NaN or infinite values: its weights are damaged, nothing was judged")
        return predictions.cpu()
    return predictions
