"""Robust evaluation: per-image outcomes of a task under attacks, the same on one process as on many."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from mmengine.dist import all_gather_object, all_reduce, get_dist_info
from torch import Tensor

from natx.attacks import Attack, Cost
from natx.attacks.base import Success
from natx.attacks.remarks import merged
from natx.batch import Batch, to_device
from natx.errors import ConfigError, DataError
from natx.evaluation.pool import cheapest_first
from natx.evaluation.progress import Block, Progress
from natx.evaluation.refill import judge_refilled, refills, worthwhile
from natx.models.mode import attack_mode
from natx.runtime.progress import Meter, silent
from natx.task import Task

CLEAN = "Clean"

Finish = Callable[[Block], None]
JudgeBlocks = Callable[[list[list[int]], Finish], None]


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
        attacks: one entry per attack, in the order in which they ran.
        success: the success convention.
        left: where only the worst case was wanted, which images no attack broke, bool ``[N]``; the clean column is then
            the only one.
    """

    correct: dict[str, Tensor]
    attacks: list[AttackResult]
    success: Success
    left: Tensor | None = None

    @property
    def count(self) -> int:
        """Number of images N."""
        return len(self.correct[CLEAN])

    def accuracy(self, column: str) -> float:
        """Accuracy of a column in percent."""
        return 100 * float(self.correct[column].double().mean())

    def worst_case(self) -> float:
        """Accuracy (%) where an image counts only if it is right in every column: the headline."""
        left = torch.stack(list(self.correct.values())).all(0) if self.left is None else self.left
        return 100 * float(left.double().mean())


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
    pool: bool = False,
    progress: Progress | None = None,
    meter: Meter | None = None,
) -> Evaluation:
    """Classify every image clean and under every attack, in eval mode and fp32.

    Under success='any' an image that is wrong without attack is broken in every column and costs nothing more, and
    broken images leave the batch; on an accelerator others take their place (:mod:`natx.evaluation.refill`), which
    changes no outcome. Under 'last' every image is attacked. AutoAttack always gets whole blocks of images in index
    order, because its result depends on which images share a call. With several processes, each works on every n-th
    batch or block and all return the same result.

    Args:
        task: the model; its modes and gradient flags are restored.
        dataset: anything with ``__len__`` and ``__getitems__(positions) -> batch``.
        attacks: attacks, run in the given order.
        batch_size: images per step for attacks whose result does not depend on it.
        success: see :meth:`natx.attacks.base.Attack.judge`.
        pool: only the worst case is wanted: attacks run cheapest first, each on the images that are still right after
            those before it (AutoAttack in blocks of these), and only the clean column is filled.
        progress: keeps finished blocks; those it has already are not judged again.
        meter: progress display.

    Raises:
        ConfigError: the task has no per-image success, two attacks share a column, an attack cannot attack the task, or
            an unknown ``success``.
        DataError: logits of clean images that are not finite.
    """
    if not task.per_image_success:
        raise ConfigError(f"{type(task).__name__} has no per-image success: use its own metric")
    if success not in ("any", "last"):
        raise ConfigError(f"success is 'any' or 'last'; got {success!r}")
    check_columns(attacks)
    for attack in attacks:
        attack.check(task)
    judging = _Judging(task, dataset, batch_size, success, progress, meter or silent())
    clean = AttackResult({"type": "Clean"}, [CLEAN])
    correct, results = {CLEAN: judging.clean(clean)}, [clean]
    left = correct[CLEAN]
    for attack in cheapest_first(attacks) if pool else attacks:
        result = AttackResult(attack.describe(), attack.columns())
        if pool:
            images = left
        else:
            images = correct[CLEAN] if attack.block_size is None and success == "any" else torch.ones_like(left)
        survived = judging.attack(attack, result, images.nonzero().squeeze(1).tolist())
        results.append(result)
        if pool:
            left = left & survived.all(0)
            result.notes.append(f"ran on the {int(images.sum())} images still right then, left {int(left.sum())} right")
        else:
            correct.update(zip(result.columns, survived))
    return Evaluation(correct, results, success, left if pool else None)


@dataclass
class _Judging:
    """An evaluation at work; the fields are arguments of :func:`evaluate`."""

    task: Task
    dataset: Any
    batch_size: int
    success: Success
    progress: Progress | None
    meter: Meter

    @property
    def device(self) -> torch.device:
        return next(self.task.parameters()).device

    def clean(self, result: AttackResult) -> Tensor:
        """Which images are right without attack, bool ``[N]``; ``result`` gets cost and seconds."""

        def classify(blocks: list[list[int]], finish: Finish) -> None:
            with attack_mode(self.task), torch.no_grad(), torch.autocast(self.device.type, enabled=False):
                for block in blocks:
                    output = self.task(self._load(block))
                    if not bool(torch.isfinite(output.logits).all()):
                        raise DataError(
                            "the model gives NaN or infinite logits for clean images, which are no predictions: check "
                            "its weights and its normalisation"
                        )
                    right = self.task.correct(output)
                    finish(Block(block, right[None].cpu(), Cost(forwards=len(block))))

        return self._outcomes(CLEAN, result, list(range(len(self.dataset))), size=self.batch_size, judge=classify)[0]

    def attack(self, attack: Attack, result: AttackResult, images: list[int]) -> Tensor:
        """Which images an attack leaves right in each of its columns, bool ``[columns, N]``; False for all others.

        Args:
            attack: the attack.
            result: gets cost, notes and seconds.
            images: positions of the images to attack.
        """

        def one_by_one(blocks: list[list[int]], finish: Finish) -> None:
            for block in blocks:
                found = attack.judge(self.task, self._load(block), success=self.success)
                right = torch.stack([~found.broken[column] for column in result.columns])
                finish(Block(block, right.cpu(), found.cost, found.notes))

        def refilled(blocks: list[list[int]], finish: Finish) -> None:
            judge_refilled(attack, self.task, blocks, load=self._load, finish=finish, size=self.batch_size)

        full = worthwhile(self.device) and self.success == "any" and refills(attack)
        size = attack.block_size or self.batch_size
        return self._outcomes(attack.name, result, images, size=size, judge=refilled if full else one_by_one)

    def _load(self, images: list[int]) -> Batch:
        return to_device(self.dataset.__getitems__(images), self.device)

    def _outcomes(self, name: str, result: AttackResult, images: list[int], *, size: int, judge: JudgeBlocks) -> Tensor:
        """Outcomes of the blocks of all processes, bool ``[columns, N]``; those known before are not judged again.

        Args:
            name: for the progress display.
            result: gets cost, notes and seconds.
            images: positions of the images to judge.
            size: images per block.
            judge: judges blocks, and hands over each when it is finished.
        """
        begun = time.monotonic()
        outcomes = torch.zeros(len(result.columns), len(self.dataset), dtype=torch.uint8)
        key = ", ".join(result.columns)

        def take(block: Block) -> None:
            outcomes[:, block.images] = block.right.to(torch.uint8)
            result.cost += block.cost
            result.notes = merged((result.notes, block.notes))

        def finish(block: Block) -> None:
            nonlocal begun
            block.seconds, begun = time.monotonic() - begun, time.monotonic()
            result.seconds += block.seconds
            take(block)
            if self.progress is not None:
                self.progress.add(key, block)
            self.meter.advance(len(block.images))

        mine, known = share(images, size), []
        if self.progress is not None:
            known = [found for block in mine if (found := self.progress.find(key, block)) is not None]
        for block in known:
            take(block)
            result.seconds += block.seconds
        done = {tuple(block.images) for block in known}
        self.meter.begin(name, sum(map(len, mine)), done=sum(map(len, done)))
        judge([block for block in mine if tuple(block) not in done], finish)
        self.meter.end()
        outcomes = _merge(result, outcomes, self.device)
        result.seconds += time.monotonic() - begun
        return outcomes.bool()


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
    result.notes = merged(notes for _, notes in parts)
    return outcomes.cpu()
