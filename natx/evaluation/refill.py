"""Refilled batches: images that are done make room for the next ones, so that late steps work on full batches too."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeGuard

import torch
from torch import Tensor

from natx.attacks import PGD, Attack, Cost, Victim
from natx.attacks.pgd import Step
from natx.attacks.tally import Tally
from natx.batch import Batch, join
from natx.evaluation.progress import Block
from natx.models.mode import attack_mode
from natx.task import Task

SPARE = 0.25  # share of a batch that is free before others enter: they come in groups, not one by one


def refills(attack: Attack) -> TypeGuard[PGD]:
    """Whether images may enter and leave an attack's batch at any step: PGD from one start, with steps without memory.

    Attacks with a loop of their own, with momentum, or that depend on who shares a batch get whole batches instead.
    """
    return (
        isinstance(attack, PGD)
        and (type(attack).run, type(attack).run_judged) == (PGD.run, PGD.run_judged)
        and type(attack).placed is PGD.placed
        and type(attack.step()) is Step
        and attack.restarts == 1
        and attack.bn_mode == "eval"
        and attack.objective.per_image
    )


def worthwhile(device: torch.device) -> bool:
    """Whether full batches save time: a CPU takes as long for an image in a small batch as in a large one."""
    return device.type != "cpu"


def judge_refilled(
    attack: PGD,
    task: Task,
    blocks: Sequence[list[int]],
    *,
    load: Callable[[list[int]], Batch],
    size: int,
) -> Generator[Block, None, None]:
    """What :meth:`natx.attacks.Attack.judge` finds under success='any' for each block of images, in full batches.

    Every image has a step counter of its own and leaves when it is broken or has taken all steps; others come in when a
    quarter of the batch is free. The last iterates, which need no gradient, are looked at together. An image's outcome
    and its cost are those it would have alone.

    Args:
        attack: an attack that :func:`refills`.
        task: the task; evaluated in eval mode and restored.
        blocks: positions of the images; images enter in this order.
        load: gives the batch of some positions, on the task's device.
        size: images per step at most; no block has more.

    Yields:
        Each block once all its images are done, not always in order; close the generator where it is not exhausted.

    Raises:
        ConstraintError: a result leaves the threat model (a bug in the attack).
    """
    device = next(task.parameters()).device
    with attack_mode(task, attack.bn_mode), torch.autocast(device.type, enabled=False):
        yield from _Refilled(attack, task, blocks, load=load, size=size).run()


@dataclass
class _Images:
    """Images at work.

    Attributes:
        victim: the attacked task on them.
        current: iterates ``[n, C, H, W]``.
        row: their places among all images, int64 ``[n]`` on the CPU.
        step: steps that each has taken, int64 ``[n]`` on the CPU.
    """

    victim: Victim
    current: Tensor
    row: Tensor
    step: Tensor

    def __len__(self) -> int:
        return len(self.row)

    def select(self, which: Tensor) -> _Images:
        """Those at which a bool ``[n]`` on the CPU is set."""
        if bool(which.all()):
            return self
        rows = which.nonzero().squeeze(1)
        here = rows.to(self.current.device)
        return _Images(self.victim.select(here), self.current[here], self.row[rows], self.step[rows])

    def split(self, count: int) -> tuple[_Images, _Images]:
        """The first ``count`` and the others."""
        first = torch.arange(len(self)) < count
        return self.select(first), self.select(~first)


def _joined(parts: Sequence[_Images]) -> _Images:
    """Several groups as one."""
    if len(parts) == 1:
        return parts[0]
    victims = [part.victim for part in parts]
    ball = victims[0].ball
    masks = [victim.ball.mask for victim in victims if victim.ball.mask is not None]
    mask = torch.cat(masks) if masks else None
    around = ball.threat.around(torch.cat([victim.x for victim in victims]), mask)
    victim = Victim(
        victims[0].task,
        join([v.batch for v in victims]),
        ball=around,
        cost=victims[0].cost,
        tally=victims[0].tally,
        rows=torch.cat([victim.rows for victim in victims if victim.rows is not None]),
    )
    current, row, step = (torch.cat([getattr(p, name) for p in parts]) for name in ("current", "row", "step"))
    return _Images(victim, current, row, step)


class _Refilled:
    """The work of :func:`judge_refilled`; the arguments are its."""

    def __init__(
        self,
        attack: PGD,
        task: Task,
        blocks: Sequence[list[int]],
        *,
        load: Callable[[list[int]], Batch],
        size: int,
    ) -> None:
        self.attack, self.task, self.blocks, self.size = attack, task, blocks, size
        self.load = load
        self.move, self.cost = attack.step(), Cost()
        self.block = torch.repeat_interleave(torch.tensor([len(block) for block in blocks], dtype=torch.int64))
        total = len(self.block)
        self.open = [len(block) for block in blocks]  # images of each that are not done
        self.broken_at = torch.full((total,), attack.steps + 1)  # the step; more than all for images that stay right
        self.spent = torch.zeros(2, total, dtype=torch.int64)  # forwards and backwards
        self.tally = Tally(total, next(task.parameters()).device)  # what cannot be followed, by place
        self.waiting: list[_Images] = []  # have not begun
        self.ended: list[_Images] = []  # have taken all steps; their last iterate is not looked at yet
        self.finished: list[Block] = []  # are to be handed over

    def run(self) -> Generator[Block, None, None]:
        """All blocks."""
        entering, active = self._loaded(), list[_Images]()
        while active := self._filled(active, entering):
            active = self._advanced(_joined(active))
            self._look_at_ended(self.size)
            yield from self._handed_over()
        self._look_at_ended(1)
        yield from self._handed_over()

    def _handed_over(self) -> list[Block]:
        blocks, self.finished = self.finished, []
        return blocks

    def _loaded(self) -> Iterator[_Images]:
        """Block by block, ready for the first step."""
        first = 0
        for block in self.blocks:
            victim = self.attack.bind(self.task, self.load(block))
            row = torch.arange(first, first + len(block))
            victim.cost, victim.tally, victim.rows = self.cost, self.tally, row.to(victim.x.device)
            self.attack.prepare(victim)
            current = self.attack.start(victim, epoch=0, restart=0)
            images = _Images(victim, current, row, torch.zeros_like(row))
            self._charge(images)
            first += len(block)
            yield images

    def _filled(self, active: list[_Images], entering: Iterator[_Images]) -> list[_Images]:
        """The images of the next step: those at work, and others where enough of the batch is free."""
        free = self.size - sum(map(len, active))
        if free < SPARE * self.size:
            return active
        while free > 0:
            group = self.waiting.pop() if self.waiting else next(entering, None)
            if group is None:
                break
            if len(group) > free:
                group, rest = group.split(free)
                self.waiting.append(rest)
            active = [*active, group]
            free -= len(group)
        return active

    def _advanced(self, images: _Images) -> list[_Images]:
        """Take a step; those that are broken or have taken all steps are not in the result."""
        grad, output, scores = images.victim.gradient(images.current, self.attack.objective)
        self._charge(images)
        wrong = images.victim.wrong(output).cpu()
        if bool(wrong.any()):
            self._leave(images.select(wrong), broken=True)
            if bool(wrong.all()):
                return []
            stay = (~wrong).nonzero().squeeze(1).to(grad.device)
            images, grad, scores = images.select(~wrong), grad[stay], scores[stay]
        images.current = self.move(images.victim.ball, images.current, grad, scores)
        images.step = images.step + 1
        ended = images.step == self.attack.steps
        if not bool(ended.any()):
            return [images]
        self.ended.append(images.select(ended))
        return [] if bool(ended.all()) else [images.select(~ended)]

    def _look_at_ended(self, least: int) -> None:
        """Judge last iterates, a batch at a time, while there are at least so many."""
        while sum(map(len, self.ended)) >= least:
            images, self.ended = _joined(self.ended), []
            if len(images) > self.size:
                images, rest = images.split(self.size)
                self.ended = [rest]
            with torch.no_grad():
                wrong = images.victim.wrong(images.victim.output(images.current)).cpu()
            self._charge(images)
            for which, broken in ((wrong, True), (~wrong, False)):
                if bool(which.any()):
                    self._leave(images.select(which), broken=broken)

    def _charge(self, images: _Images) -> None:
        """Share what was just spent among the images that it was spent on; each took as much."""
        spent = torch.tensor([[self.cost.forwards], [self.cost.backwards]])
        self.spent[:, images.row] += spent // len(images)
        self.cost.forwards = self.cost.backwards = 0

    def _leave(self, images: _Images, *, broken: bool) -> None:
        """Settle images; blocks of which none is open any more are finished."""
        images.victim.ball.verify(images.current)
        if broken:
            self.broken_at[images.row] = images.step
        numbers, counts = self.block[images.row].unique(return_counts=True)
        for number, count in zip(numbers.tolist(), counts.tolist()):
            self.open[number] -= count
            if self.open[number] == 0:
                self.finished.append(self._outcome(number))

    def _outcome(self, number: int) -> Block:
        """A block all of whose images are settled."""
        rows = self.block == number
        marks = self.attack.milestones or (self.attack.steps,)
        right = torch.stack([self.broken_at[rows] > mark for mark in marks])
        forwards, backwards = self.spent[:, rows].sum(1).tolist()
        notes = self.tally.notes(rows.nonzero().squeeze(1).to(self.tally.faint.device))
        return Block(list(self.blocks[number]), right, Cost(forwards, backwards), notes)
