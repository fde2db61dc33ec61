"""Robust evaluation: per-image outcomes of a task under attacks, the same on one process as on many."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, cast

import torch
from mmengine.dist import all_gather_object, all_reduce, get_dist_info
from torch import Tensor

from natx.attacks import PGD, Attack, Cost
from natx.attacks.base import Success
from natx.attacks.remarks import SATURATED, merged
from natx.batch import Batch, to_device
from natx.errors import ConfigError, DataError
from natx.evaluation.applicable import OnUnsupported, applicable, settings_remarks
from natx.evaluation.parts import BlockParts
from natx.evaluation.pieces import Pieces
from natx.evaluation.pool import cheapest_first
from natx.evaluation.progress import Block, Progress
from natx.evaluation.refill import judge_refilled, refills, worthwhile
from natx.models.half import in_float32
from natx.models.mode import attack_mode
from natx.runtime.memory import is_shortage, release
from natx.runtime.precision import exact_float32
from natx.runtime.progress import Meter, silent
from natx.task import Output, Task

CLEAN = "Clean"

Blocks = Generator[Block, None, None]  # finished, in any order
Judge = Callable[[list[list[int]]], Blocks]  # from the positions of blocks of images


@dataclass
class AttackResult:
    """What one attack did over the whole set."""

    settings: dict[str, Any]
    columns: list[str]
    cost: Cost = field(default_factory=Cost)
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    def add(self, block: Block) -> None:
        """Count a finished block's cost, remarks and seconds."""
        self.cost += block.cost
        self.notes = merged((self.notes, block.notes))
        self.seconds += block.seconds


@dataclass
class Evaluation:
    """Outcomes of an evaluation.

    Attributes:
        correct: per column, which images are classified right, bool ``[N]``; the first column is clean.
        attacks: one entry per attack, in the order in which they ran.
        success: the success convention.
        survivors: where only the worst case was wanted, which images no attack broke, bool ``[N]``; the clean column is
            then the only one.
        not_applicable: by column, why an attack that was asked for was left out.
    """

    correct: dict[str, Tensor]
    attacks: list[AttackResult]
    success: Success
    survivors: Tensor | None = None
    not_applicable: dict[str, str] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Number of images N."""
        return len(self.correct[CLEAN])

    def accuracy(self, column: str) -> float:
        """Accuracy of a column in percent."""
        return 100 * float(self.correct[column].double().mean())

    def worst_case(self) -> float:
        """Accuracy (%) where an image counts only if it is right in every column: the headline."""
        return 100 * float(self.unbroken().double().mean())

    def unbroken(self) -> Tensor:
        """Images that are right in every column, bool ``[N]``."""
        return torch.stack(list(self.correct.values())).all(0) if self.survivors is None else self.survivors


def check_columns(attacks: Sequence[Attack]) -> None:
    """Raise ConfigError where two attacks would fill the same column, or are of two kinds of threat.

    One worst case over a norm ball and a patch would be a figure of neither.
    """
    kinds = {attack.threat.kind: attack.threat for attack in attacks}
    if len(kinds) > 1:
        raise ConfigError(
            f"attacks under {' and '.join(map(str, kinds.values()))}: a report is of one kind of threat, so put them "
            "into attack configs of their own"
        )
    names = [CLEAN, *(c for attack in attacks for c in attack.columns())]
    double = sorted({n for n in names if names.count(n) > 1})
    if double:
        raise ConfigError(f"two attacks fill the column {', '.join(double)}: give one of them name='...'")


@exact_float32()
def evaluate(
    task: Task,
    dataset: Any,
    attacks: Sequence[Attack],
    *,
    batch_size: int = 250,
    success: Success = "any",
    pool: bool = False,
    on_unsupported: OnUnsupported = "refuse",
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
        on_unsupported: what becomes of attacks that cannot attack the task, see
            :func:`natx.evaluation.applicable.applicable`.
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
    attacks, reasons = applicable(attacks, task, on_unsupported=on_unsupported)
    task, notes = in_float32(task)
    judging = _Judging(task, dataset, batch_size, success, progress, meter or silent())
    clean = AttackResult({"type": "Clean"}, [CLEAN], notes=notes)
    right = judging.outcomes(CLEAN, clean, torch.arange(len(dataset)), size=batch_size, judge=judging.clean)[0]
    evaluation = Evaluation({CLEAN: right}, [clean], success, right if pool else None, reasons)
    for attack in cheapest_first(attacks) if pool else attacks:
        if evaluation.survivors is not None:
            images = evaluation.survivors
        else:
            images = right if attack.block_size is None and success == "any" else torch.ones_like(right)
        result = AttackResult(attack.describe(), attack.columns(), notes=settings_remarks(attack))
        outcomes = judging.attack(attack, result, images.nonzero().squeeze(1))
        evaluation.attacks.append(result)
        if evaluation.survivors is None:
            evaluation.correct.update(zip(result.columns, outcomes))
        else:
            evaluation.survivors = images & outcomes.all(0)
            counts = int(images.sum()), int(evaluation.survivors.sum())
            result.notes.append("ran on the {} images still right then, left {} right".format(*counts))
    return evaluation


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

    def clean(self, blocks: list[list[int]]) -> Blocks:
        """Blocks of images without attack."""
        yield from map(Pieces(self._clean), blocks)

    def _clean(self, images: list[int]) -> Block:
        with attack_mode(self.task), torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            output = self.task(self._load(images))
            right = self.task.correct(output)
        if not bool(torch.isfinite(output.logits).all()):
            raise DataError(
                "the model gives NaN or infinite logits for clean images, which are no predictions: check its "
                "weights and its normalisation"
            )
        return Block(images, right[None].cpu(), Cost(forwards=len(images)), _saturated(output))

    def attack(self, attack: Attack, result: AttackResult, images: Tensor) -> Tensor:
        """Which images an attack leaves right in each of its columns, bool ``[columns, N]``; False for all others.

        Args:
            attack: the attack.
            result: gets cost, notes and seconds.
            images: positions of the images to attack, int64 ``[n]``.
        """

        def at_once(images: list[int]) -> Block:
            parts = None
            if self.progress is not None and attack.block_size is not None:
                parts = BlockParts(self.progress, ", ".join(result.columns), images)
            attacked = attack.judge(self.task, self._load(images), success=self.success, parts=parts)
            right = torch.stack([~attacked.broken[column] for column in result.columns])
            before = 0.0 if parts is None else parts.seconds
            return Block(images, right.cpu(), attacked.cost, attacked.notes, before)

        pieces = Pieces(at_once, divisible=attack.block_size is None)

        def block_by_block(blocks: list[list[int]]) -> Blocks:
            yield from map(pieces, blocks)

        def refilled(blocks: list[list[int]]) -> Blocks:
            finished = []
            try:
                for block in judge_refilled(
                    cast(PGD, attack), self.task, blocks, load=self._load, size=self.batch_size
                ):
                    finished.append(block.images)
                    yield block
            except (RuntimeError, MemoryError) as error:
                if not is_shortage(error):
                    raise
            release()
            yield from map(pieces, [block for block in blocks if block not in finished])

        full = worthwhile(self.device) and self.success == "any" and refills(attack)
        judge: Judge = refilled if full else block_by_block
        return self.outcomes(attack.name, result, images, size=attack.block_size or self.batch_size, judge=judge)

    def outcomes(self, name: str, result: AttackResult, images: Tensor, *, size: int, judge: Judge) -> Tensor:
        """Outcomes of the blocks of all processes, bool ``[columns, N]``; those that are stored are not judged again.

        Args:
            name: for the progress display.
            result: gets cost, notes and seconds.
            images: positions of the images to judge, int64 ``[n]``.
            size: images per block.
            judge: judges blocks.
        """
        key, blocks = ", ".join(result.columns), share(images.tolist(), size)
        stored = [] if self.progress is None else self.progress.stored(key, blocks)
        done = [block.images for block in stored]
        outcomes = torch.zeros(len(result.columns), len(self.dataset), dtype=torch.uint8)
        self.meter.begin(name, sum(map(len, blocks)), done=sum(map(len, done)))
        with closing(self._finished(key, judge([block for block in blocks if block not in done]))) as fresh:
            for block in chain(stored, fresh):
                outcomes[:, block.images] = block.right.to(torch.uint8)
                result.add(block)
        self.meter.end()
        begun = time.monotonic()
        outcomes = _merge(result, outcomes, self.device)
        result.seconds += time.monotonic() - begun
        return outcomes.bool()

    def _finished(self, key: str, blocks: Blocks) -> Blocks:
        """The blocks with the seconds that each took, once it is on the disk."""
        with closing(blocks):  # a generator's modes are put back at once where an exception ends it
            begun = time.monotonic()
            for block in blocks:
                block.seconds += time.monotonic() - begun
                begun = time.monotonic()
                if self.progress is not None:
                    self.progress.add(key, block)
                self.meter.advance(len(block.images))
                yield block

    def _load(self, images: list[int]) -> Batch:
        return to_device(self.dataset.__getitems__(images), self.device)


def _saturated(output: Output) -> list[str]:
    """A remark on images whose cross-entropy is exactly 0 for their largest logit, if there are any."""
    if output.link != "softmax":
        return []
    count = int((output.logits.log_softmax(1).amax(1) == 0).sum())
    return [f"{SATURATED}{count}"] if count else []


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
