"""Robust evaluation: per-image outcomes of a task under attacks, the same on one process as on many."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from mmengine.dist import all_gather_object, all_reduce, get_dist_info
from torch import Tensor

from natx.attacks import Attack, Cost
from natx.attacks.base import Success
from natx.batch import to_device
from natx.context import attack_mode
from natx.errors import ConfigError
from natx.progress import Meter, silent
from natx.task import Task

CLEAN = "Clean"


@dataclass
class AttackResult:
    """What one attack did over the whole set."""

    settings: dict[str, Any]
    columns: list[str]
    cost: Cost = field(default_factory=Cost)
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)


@dataclass
class Evaluation:
    """Outcomes of an evaluation.

    Attributes:
        correct: per column, which images are classified right, bool ``[N]``; the first column is clean.
        attacks: one entry per attack.
        success: the success convention.
    """

    correct: dict[str, Tensor]
    attacks: list[AttackResult]
    success: Success

    @property
    def count(self) -> int:
        """Number of images N."""
        return len(self.correct[CLEAN])

    def accuracy(self, column: str) -> float:
        """Accuracy of a column in percent."""
        return 100 * float(self.correct[column].double().mean())

    def worst_case(self) -> float:
        """Accuracy (%) where an image counts only if it is right in every column: the headline."""
        return 100 * float(torch.stack(list(self.correct.values())).all(0).double().mean())


def check_columns(attacks: Sequence[Attack]) -> None:
    """Raise ConfigError where two attacks would fill the same column."""
    names = [CLEAN, *(c for attack in attacks for c in attack.columns())]
    double = sorted({n for n in names if names.count(n) > 1})
    if double:
        raise ConfigError(f"two attacks fill the column {', '.join(double)}: give one of them name='...'")


def evaluate(
    task: Task,
    dataset: Any,
    attacks: Sequence[Attack],
    *,
    batch_size: int = 250,
    success: Success = "any",
    meter: Meter | None = None,
) -> Evaluation:
    """Classify every image clean and under every attack, in eval mode and fp32.

    Under success='any' an image that is wrong without attack is broken in every column and costs nothing more; under
    'last' every image is attacked. AutoAttack always gets whole blocks of images in index order, because its result
    depends on which images share a call. With several processes, each works on every n-th batch or block and all
    return the same result.

    Args:
        task: the model; its modes and gradient flags are restored.
        dataset: anything with ``__len__`` and ``__getitems__(positions) -> batch``.
        attacks: attacks, run in the given order.
        batch_size: images per step for attacks whose result does not depend on it.
        success: see :meth:`natx.attacks.base.Attack.judge`.
        meter: progress display.

    Raises:
        ConfigError: the task has no per-image success, or two attacks share a column.
    """
    if not task.per_image_success:
        raise ConfigError(f"{type(task).__name__} has no per-image success: use its own metric")
    check_columns(attacks)
    meter = meter or silent()
    device = next(task.parameters()).device
    everything = list(range(len(dataset)))

    clean = AttackResult({"type": "Clean"}, [CLEAN])
    correct = {CLEAN: _clean(task, dataset, clean, batch_size=batch_size, device=device, meter=meter)}
    results = [clean]
    for attack in attacks:
        result = AttackResult(attack.describe(), attack.columns())
        if attack.block_size is None and success == "any":
            positions, size = correct[CLEAN].nonzero().squeeze(1).tolist(), batch_size
        else:
            positions, size = everything, attack.block_size or batch_size
        start = time.monotonic()
        survived = torch.zeros(len(result.columns), len(dataset), dtype=torch.uint8)
        mine = share(positions, size)
        meter.begin(attack.name, sum(len(block) for block in mine))
        for block in mine:
            found = attack.judge(task, to_device(dataset.__getitems__(block), device), success=success)
            for row, column in enumerate(result.columns):
                survived[row, block] = (~found.broken[column]).to("cpu", torch.uint8)
            result.cost += found.cost
            result.notes += [note for note in found.notes if note not in result.notes]
            meter.advance(len(block))
        meter.end()
        survived = _merge(result, survived, device)
        result.seconds = time.monotonic() - start
        for row, column in enumerate(result.columns):
            correct[column] = survived[row].bool()
        results.append(result)
    return Evaluation(correct, results, success)


def _clean(
    task: Task, dataset: Any, result: AttackResult, *, batch_size: int, device: torch.device, meter: Meter
) -> Tensor:
    start, right = time.monotonic(), torch.zeros(1, len(dataset), dtype=torch.uint8)
    mine = share(list(range(len(dataset))), batch_size)
    meter.begin(CLEAN, sum(len(block) for block in mine))
    with attack_mode(task), torch.no_grad(), torch.autocast(device.type, enabled=False):
        for block in mine:
            right[0, block] = task.correct(task(to_device(dataset.__getitems__(block), device))).to("cpu", torch.uint8)
            result.cost.forwards += len(block)
            meter.advance(len(block))
    meter.end()
    merged = _merge(result, right, device)
    result.seconds = time.monotonic() - start
    return merged[0].bool()


def share(positions: list[int], size: int) -> list[list[int]]:
    """This process's batches: every n-th of the batches of ``size`` positions."""
    rank, world_size = get_dist_info()
    blocks = [positions[i : i + size] for i in range(0, len(positions), size)]
    return blocks[rank::world_size]


def _merge(result: AttackResult, outcomes: Tensor, device: torch.device) -> Tensor:
    """Sum disjoint outcomes, costs and notes over processes; the seconds stay those of the slowest by the barrier."""
    if get_dist_info()[1] == 1:
        return outcomes
    outcomes = outcomes.to(device, torch.int32)
    all_reduce(outcomes)
    parts = all_gather_object((result.cost, result.notes))
    result.cost = Cost(sum(c.forwards for c, _ in parts), sum(c.backwards for c, _ in parts))
    result.notes = list(dict.fromkeys(note for _, notes in parts for note in notes))
    return outcomes.cpu()
