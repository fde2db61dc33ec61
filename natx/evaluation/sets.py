"""Evaluation of whole sets: a metric over all images, clean and with some of them attacked."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from mmengine.dist import all_gather_object, get_dist_info
from torch import Tensor

from natx.attacks import Attack, Cost
from natx.batch import to_device
from natx.context import attack_mode
from natx.errors import ConfigError, DataError
from natx.evaluation.metric import Metric
from natx.evaluation.robust import CLEAN, AttackResult, check_columns, share
from natx.progress import Meter, silent
from natx.task import Task

EXAMPLES = 4


@dataclass
class SetEvaluation:
    """Outcomes of a set-level evaluation.

    Attributes:
        values: per column the metric's values (%); the first column is clean.
        attacks: one entry per column, in the same order.
        count: images in the set.
        attacked: images that the attacks may change.
        notes: remarks about the set, the data set's own and the metric's.
        examples: per column the predictions and the pixels of the first attacked images ``[n, C, H, W]``, for a
            picture; the clean column and the first attack's.
    """

    values: dict[str, dict[str, float]]
    attacks: list[AttackResult]
    count: int
    attacked: int
    notes: list[str]
    examples: dict[str, tuple[Any, Tensor]] = field(default_factory=dict, repr=False)


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

    Images that no attack may change are predicted once for all columns. Each attack is reported by itself: a metric
    over a set has no worst case per image. With several processes each works on every n-th batch, and all return the
    same result.

    Args:
        task: the model; its modes and gradient flags are restored.
        dataset: anything with ``__len__`` and ``__getitems__(positions) -> batch``.
        attacks: attacks, run in the given order.
        metric: the set's metric.
        batch_size: images per step.
        meter: progress display.

    Raises:
        ConfigError: two attacks share a column, or one asks for several.
        DataError: predictions that are not finite.
    """
    check_columns(attacks)
    for attack in attacks:
        if len(attack.columns()) > 1:
            raise ConfigError(f"{attack.name} has milestones, which need per-image success: list one attack a column")
    meter = meter or silent()
    positions = attacked_positions(dataset)
    clean = AttackResult({"type": "Clean"}, [CLEAN])
    start = time.monotonic()
    predictions = predict_all(task, dataset, batch_size=batch_size, meter=meter, cost=clean.cost)
    clean.seconds = time.monotonic() - start
    values, results = {CLEAN: metric(predictions, dataset)}, [clean]
    first = positions[:EXAMPLES]
    examples = {CLEAN: (predictions, task.pixels(_batch(task, dataset, first)).cpu())}
    for attack in attacks:
        result = AttackResult(attack.describe(), attack.columns())
        start = time.monotonic()
        result.notes += attack.observe(dataset, predictions)
        found, pixels = _attacked(task, dataset, attack, positions, result, batch_size=batch_size, meter=meter)
        changed = _replaced(predictions, positions, found)
        values[attack.name] = metric(changed, dataset)
        result.seconds = time.monotonic() - start
        results.append(result)
        if len(examples) == 1:
            examples[attack.name] = (changed, pixels)
    notes = [*getattr(dataset, "notes", []), *metric.notes(dataset)]
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
    return _gathered(parts)


def _attacked(
    task: Task,
    dataset: Any,
    attack: Attack,
    positions: list[int],
    result: AttackResult,
    *,
    batch_size: int,
    meter: Meter,
) -> tuple[Any, Tensor]:
    """Predictions of the attacked images in the order of ``positions``, and the pixels of the first ones."""
    mine, parts, pixels = share(positions, batch_size), [], []
    cost = Cost()
    meter.begin(attack.name, sum(len(block) for block in mine))
    for block in mine:
        batch = _batch(task, dataset, block)
        found = attack.judge(task, batch)
        parts.append((block, _predict(task, {**batch, "inputs": found.x_adv})))
        wanted = [row for row, position in enumerate(block) if position in positions[:EXAMPLES]]
        pixels.append(([block[row] for row in wanted], found.x_adv[wanted].cpu()))
        cost += found.cost
        cost += Cost(forwards=len(block))
        result.notes += [note for note in found.notes if note not in result.notes]
        meter.advance(len(block))
    meter.end()
    shared = [(cost, result.notes)] if get_dist_info()[1] == 1 else all_gather_object((cost, result.notes))
    for spent, notes in shared:
        result.cost += spent
        result.notes = list(dict.fromkeys([*result.notes, *notes]))
    return _gathered(parts, order=positions), _gathered(pixels, order=positions[:EXAMPLES])


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


def _gathered(parts: list[tuple[list[int], Any]], order: list[int] | None = None) -> Any:
    """Predictions of all processes' blocks in the order of their positions (or in a given order)."""
    if get_dist_info()[1] > 1:
        parts = [part for process in all_gather_object(parts) for part in process]
    parts = [part for part in parts if part[0]]
    at = [position for block, _ in parts for position in block]
    row = {position: i for i, position in enumerate(at)}
    wanted = [row[position] for position in (sorted(at) if order is None else order)]
    if isinstance(parts[0][1], Tensor):
        return torch.cat([values for _, values in parts])[wanted]
    values = [value for _, block in parts for value in block]
    return [values[i] for i in wanted]


def _replaced(predictions: Any, positions: list[int], changed: Any) -> Any:
    """The set's predictions with those of the attacked images replaced."""
    if isinstance(predictions, Tensor):
        return predictions.index_copy(0, torch.tensor(positions), changed)
    replaced = list(predictions)
    for position, value in zip(positions, changed):
        replaced[position] = value
    return replaced
