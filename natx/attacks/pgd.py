"""Projected gradient ascent (Madry et al. 2018): first the ascent itself, then the attack with its settings."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from natx.attacks.base import Attack, Attacked, Success, random_point, too_short
from natx.attacks.judged import Record, follow_to_the_end, follow_until_broken
from natx.attacks.victim import Victim
from natx.batch import START
from natx.errors import ConfigError
from natx.objectives import Objective, build_objective
from natx.registry import ATTACKS
from natx.runtime.rng import normal
from natx.task import Task
from natx.threat import Ball, pixel_fraction

STEPS_ACROSS = 4  # eps over the default step size


class Step:
    """The next iterate ``project(x + size * s)``; ``s`` is ``sign(grad)`` under Linf, ``grad / ||grad||_2`` under L2.

    Args:
        size: step size in pixel units of [0,1].
    """

    def __init__(self, size: float) -> None:
        self.size = size

    def __call__(self, ball: Ball, x: Tensor, grad: Tensor, scores: Tensor) -> Tensor:
        """The images ``[N, C, H, W]`` after one step, inside the ball, from their gradients and scores ``[N]``."""
        return ball.project(x + self.size * ball.steepest(grad))

    def select(self, rows: Tensor) -> None:
        """Go on with the images at positions ``rows`` only."""


def ascend(victim: Victim, objective: Objective, *, start: Tensor, steps: int, step: Step) -> Tensor:
    """Climb an objective inside the ball around the images: all that projected gradient ascent is.

    Args:
        victim: the attacked task on a batch of images.
        objective: what is climbed, one score an image.
        start: the first iterate ``[N, C, H, W]``.
        steps: gradients that are taken and followed.
        step: how an iterate moves; a fresh one, since steps may remember.

    Returns:
        The last iterate ``[N, C, H, W]``.
    """
    x_adv = start
    for _ in range(steps):
        grad, _, scores = victim.gradient(x_adv, objective)
        x_adv = step(victim.ball, x_adv, grad, scores)
    return x_adv


class MomentumStep(Step):
    """Along a decaying sum of gradients, each divided by its L1 norm (Dong et al. 2018, MI-FGSM).

    Args:
        size: step size in pixel units of [0,1].
        decay: what remains of the sum after each step; 1 in the paper.
    """

    def __init__(self, size: float, *, decay: float) -> None:
        super().__init__(size)
        self.decay = decay
        self.total: Tensor | None = None

    def __call__(self, ball: Ball, x: Tensor, grad: Tensor, scores: Tensor) -> Tensor:
        """See :meth:`Step.__call__`."""
        length = grad.flatten(1).abs().sum(1).clamp_min(torch.finfo(grad.dtype).tiny)
        unit = grad / length.view(-1, *[1] * (grad.dim() - 1))
        self.total = unit if self.total is None else self.decay * self.total + unit
        return super().__call__(ball, x, self.total, scores)

    def select(self, rows: Tensor) -> None:
        """See :meth:`Step.select`."""
        self.total = None if self.total is None else self.total[rows]


@ATTACKS.register_module()
class PGD(Attack):
    """PGD on any objective: ``x <- project(x + step_size * sign(grad))`` for Linf, normalised gradient for L2.

    Defaults are the paper's (Sec. 4.1). "C&W" in robustness tables is this attack on the margin (docs/paper.md).
    A batch with pixels under ``start`` is attacked from there, whatever ``random_start`` says.

    Args:
        threat: threat model.
        steps: gradient steps K.
        step_size: step in pixel units of [0,1]; a quarter of eps by default: 2/255 at 8/255, and as far in any norm.
        objective: config of what to climb.
        random_start: start anywhere in the ball (True, see :meth:`natx.threat.Ball.start`), at the image (False), or at
            the image plus small normal noise, clipped ('normal', as TRADES and MART do); a draw depends on (seed,
            epoch, image index) only.
        start_std: standard deviation of the noise of 'normal' in pixel units of [0,1].
        restarts: independent starts; of each image the first broken (else the highest-scoring) result is kept.
        momentum: decay of the sum of gradients that steps follow (:class:`MomentumStep`); 0 for none, 1 as in MI-FGSM.
        milestones: step counts that each get a column (PGD-10, PGD-20, ...) from this one trajectory; the last
            must equal ``steps``.
    """

    def __init__(
        self,
        threat: Any,
        steps: int = 10,
        *,
        step_size: float | None = None,
        objective: Objective | dict[str, Any] | None = None,
        random_start: bool | Literal["normal"] = True,
        start_std: float = 0.001,
        restarts: int = 1,
        momentum: float = 0.0,
        milestones: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        if steps < 1 or restarts < 1:
            raise ConfigError(f"PGD needs steps >= 1 and restarts >= 1; got steps={steps}, restarts={restarts}")
        if milestones is not None and (list(milestones) != sorted({*milestones, steps}) or milestones[-1] != steps):
            raise ConfigError(f"milestones must rise and end with steps={steps}; got {tuple(milestones)}")
        if random_start not in (True, False, "normal"):
            raise ConfigError(f"random_start is True, False or 'normal'; got {random_start!r}")
        if not start_std > 0:
            raise ConfigError(f"start_std is a standard deviation in pixel units of [0,1], above 0; got {start_std}")
        if not 0 <= momentum <= 1:
            raise ConfigError(f"momentum is what remains of the sum of gradients, 0 to 1; got {momentum}")
        self.steps = steps
        self.momentum = momentum or None  # None: no part of the description
        self.random_start, self.restarts = random_start, restarts
        self.start_std = start_std if random_start == "normal" else None  # None: no part of the description
        self.milestones = tuple(milestones) if milestones is not None else None
        self.objective = build_objective(objective)
        if self.objective.needs_random_start and not random_start:
            raise ConfigError(
                f"{type(self.objective).__name__} has no gradient at the clean image: use random_start=True or 'normal'"
            )
        super().__init__(threat, **kwargs)
        self.step_size = self.threat.radius / STEPS_ACROSS if step_size is None else step_size

    @property
    def single_step(self) -> bool:
        """See :attr:`Attack.single_step`."""
        return self.steps == 1 and self.restarts == 1

    @property
    def takes_start(self) -> bool:
        """Yes, unless restarts would all start alike."""
        return self.restarts == 1

    def default_name(self) -> str:
        """``PGD`` where milestones add the step counts, else ``PGD-K``."""
        return "PGD" if self.milestones else f"PGD-{self.steps}"

    def columns(self) -> list[str]:
        """One column a milestone."""
        return [f"{self.name}-{k}" for k in self.milestones] if self.milestones else [self.name]

    def shortfalls(self) -> list[str]:
        """See :meth:`Attack.shortfalls`: steps that are too short, and noise at the start that is wider than eps."""
        notes = too_short(self, self.steps, self.step_size)
        if self.start_std is not None and self.start_std > self.threat.radius:
            notes.append(
                f"{self.name}: start_std={pixel_fraction(self.start_std)} is more than {self.threat}, so nearly every "
                "start lies outside and is moved to the rim: use random_start=True"
            )
        return notes

    def check(self, task: Task) -> None:
        """See :meth:`Attack.check`; asks the objective."""
        self.objective.check(task)

    def cost_per_image(self) -> tuple[float, float]:
        """K forwards and backwards a restart; several restarts need one forward each to choose."""
        extra_f, extra_b = self.objective.cost()
        k = self.steps * self.restarts
        choose = self.restarts * (1 + extra_f) if self.restarts > 1 else 0
        return (self.objective.prepare_forwards + k * (1 + extra_f) + choose, k * (1 + extra_b))

    def scaled(self, factor: float) -> PGD:
        """See :meth:`Attack.scaled`; noise around the image keeps its size."""
        attack = copy.copy(self)
        attack.threat, attack.step_size = self.threat.scaled(factor), self.step_size * factor
        return attack

    def describe(self) -> dict[str, Any]:
        """See :meth:`Attack.describe`."""
        return {**super().describe(), **self.objective.describe()}

    def observe(self, dataset: Any, predictions: Any) -> list[str]:
        """See :meth:`Attack.observe`; passed on to the objective."""
        return [*self.objective.scope(dataset), *self.objective.observe(dataset, predictions)]

    def images_of(self, dataset: Any) -> list[int] | None:
        """See :meth:`Attack.images_of`; the objective's."""
        return self.objective.images_of(dataset)

    def prepare(self, victim: Victim) -> None:
        """Let the objective add to the victim's batch what it needs, once before the first gradient."""
        victim.batch = {**victim.batch, **self.objective.prepare(victim.task, victim.batch, x=victim.x)}
        victim.cost.forwards += self.objective.prepare_forwards * len(victim)

    def placed(self, victim: Victim, *, epoch: int, restart: int) -> Victim:
        """The victim in whose ball a restart moves: itself, where the threat model leaves nothing to choose."""
        return victim

    def start(self, victim: Victim, *, epoch: int, restart: int) -> Tensor:
        """The first iterate ``[N, C, H, W]``, inside the ball."""
        if START in victim.batch:
            return victim.ball.project(victim.batch[START])
        if not self.random_start:
            return victim.x.clone()
        if self.start_std is not None:
            noise = victim.noise(self.seed, epoch=epoch, stream=restart, draw=normal)
            return victim.ball.project(victim.x + self.start_std * noise.to(victim.x.dtype))
        return random_point(victim.ball, victim.batch["index"], seed=self.seed, epoch=epoch, stream=restart)

    def step(self) -> Step:
        """How the iterates of one trajectory move."""
        return Step(self.step_size) if self.momentum is None else MomentumStep(self.step_size, decay=self.momentum)

    def ascend(self, victim: Victim, *, epoch: int, restart: int) -> Tensor:
        """One trajectory's result ``[N, C, H, W]``."""
        victim = self.placed(victim, epoch=epoch, restart=restart)
        start = self.start(victim, epoch=epoch, restart=restart)
        return ascend(victim, self.objective, start=start, steps=self.steps, step=self.step())

    def run(self, victim: Victim, *, epoch: int = 0) -> Tensor:
        """The last iterate (of the best restart)."""
        self.prepare(victim)
        if self.restarts == 1:
            return self.ascend(victim, epoch=epoch, restart=0)
        best, best_score = victim.x.clone(), victim.x.new_full((len(victim),), -torch.inf)
        for restart in range(self.restarts):
            x_adv = self.ascend(victim, epoch=epoch, restart=restart)
            output, score = victim.scored(x_adv, self.objective)
            score = score.to(best_score.dtype)
            if victim.task.per_image_success:  # a broken image beats any score
                score = torch.where(victim.wrong(output), torch.inf, score)
            better = score > best_score
            best = torch.where(better.view(-1, *[1] * (best.dim() - 1)), x_adv, best)
            best_score = torch.where(better, score, best_score)
        return best

    def run_judged(self, victim: Victim, *, success: Success) -> Attacked:
        """Each restart's trajectory with what broke on the way (:mod:`natx.attacks.judged`), a column a milestone.

        A task without per-image success gets :meth:`run`'s result and no columns.
        """
        if not victim.task.per_image_success:
            return Attacked(self.run(victim))
        self.prepare(victim)
        record = Record(victim, milestones=self.milestones or (self.steps,))
        follow = follow_until_broken if success == "any" else follow_to_the_end
        for restart in range(self.restarts):
            start = partial(self.start, epoch=0, restart=restart)
            placed = self.placed(victim, epoch=0, restart=restart)
            follow(placed, self.objective, start=start, steps=self.steps, step=self.step(), record=record)
        return Attacked(record.x_adv, dict(zip(self.columns(), record.broken)))
