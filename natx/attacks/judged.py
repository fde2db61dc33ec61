"""What a judge needs of an iterative attack: which images broke by which step, and no work on those that are broken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from natx.attacks.victim import Victim
from natx.objectives import Objective
from natx.threat import Ball


class Move(Protocol):
    """How a trajectory moves; see :class:`natx.attacks.pgd.Step`."""

    def __call__(self, ball: Ball, x: Tensor, grad: Tensor, scores: Tensor) -> Tensor:
        """The images after one step."""

    def select(self, rows: Tensor) -> None:
        """Go on with the images at positions ``rows`` only."""


class Record:
    """The outcome of all trajectories so far, for every image of a victim.

    What an earlier trajectory found of a broken image stays.

    Args:
        victim: the attacked task on N images.
        milestones: step counts by which an image is to be broken, rising.

    Attributes:
        broken: which images are broken by each milestone, bool ``[milestones, N]``.
        x_adv: of a broken image the pixels that broke it, of the others the last iterate ``[N, C, H, W]``.
    """

    def __init__(self, victim: Victim, *, milestones: Sequence[int]) -> None:
        self.milestones = tuple(milestones)
        self.broken = torch.zeros(len(self.milestones), len(victim), dtype=torch.bool, device=victim.x.device)
        self.x_adv = victim.x.clone()
        self._limits = torch.tensor(self.milestones, device=victim.x.device)
        self._settled = self.broken[-1].clone()

    def begin(self) -> None:
        """Another trajectory starts."""
        self._settled = self.broken[-1].clone()

    def mark(self, rows: Tensor, *, step: int) -> None:
        """Images at positions ``rows`` are broken after so many steps."""
        self.broken[:, rows] |= (step <= self._limits)[:, None]

    def write(self, rows: Tensor, pixels: Tensor) -> None:
        """The trajectory's pixels of images at positions ``rows``."""
        settled = self._settled[rows].view(-1, 1, 1, 1)
        self.x_adv[rows] = torch.where(settled, self.x_adv[rows], pixels)


def follow_until_broken(
    victim: Victim,
    objective: Objective,
    *,
    start: Callable[[Victim], Tensor],
    steps: int,
    step: Move,
    record: Record,
) -> None:
    """One trajectory of :func:`natx.attacks.pgd.ascend` in which an image that breaks leaves the batch.

    Args:
        victim: the attacked task on all images of the record.
        objective: what is climbed.
        start: gives the first iterates of the images that take part.
        steps: gradient steps.
        step: how an iterate moves.
        record: gets the outcome.
    """
    record.begin()
    active = (~record.broken[0]).nonzero().squeeze(1)  # a later start may still break an image in fewer steps
    if len(active) < len(victim):
        victim = victim.select(active)
    current = start(victim)
    for k in range(steps):
        if len(active) == 0:
            return
        grad, output, scores = victim.gradient(current, objective)
        wrong = victim.wrong(output)
        if wrong.any():
            record.mark(active[wrong], step=k)
            record.write(active[wrong], current[wrong])
            stay = (~wrong).nonzero().squeeze(1)
            active, current, victim = active[stay], current[stay], victim.select(stay)
            grad, scores = grad[stay], scores[stay]
            step.select(stay)
        current = step(victim.ball, current, grad, scores)
    if len(active) > 0:
        record.mark(active[_wrong(victim, current)], step=steps)
        record.write(active, current)


def follow_to_the_end(
    victim: Victim,
    objective: Objective,
    *,
    start: Callable[[Victim], Tensor],
    steps: int,
    step: Move,
    record: Record,
) -> None:
    """One full trajectory, looked at where a milestone ends: the convention of the paper and of torchattacks.

    Arguments as for :func:`follow_until_broken`.
    """
    record.begin()
    current = start(victim)
    for k in range(steps):
        grad, output, scores = victim.gradient(current, objective)
        if k in record.milestones:
            record.broken[record.milestones.index(k)] |= victim.wrong(output)
        current = step(victim.ball, current, grad, scores)
    record.broken[-1] |= _wrong(victim, current)
    record.write(torch.arange(len(victim), device=current.device), current)


def _wrong(victim: Victim, x_adv: Tensor) -> Tensor:
    """Which images are misclassified, bool ``[n]`` (one forward)."""
    with torch.no_grad():
        return victim.wrong(victim.output(x_adv))
