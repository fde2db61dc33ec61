"""Projected gradient ascent (Madry et al. 2018)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from natx.attacks.base import Attack, Attacked, Success, Victim
from natx.attacks.steps import MomentumStep, Step
from natx.batch import START
from natx.errors import ConfigError
from natx.objectives import Objective
from natx.registry import ATTACKS, OBJECTIVES
from natx.runtime.rng import normal


@ATTACKS.register_module()
class PGD(Attack):
    """PGD on any objective: ``x <- project(x + step_size * sign(grad))`` for Linf, normalised gradient for L2.

    Defaults are the paper's (Sec. 4.1). "C&W" in robustness tables is this attack on the margin (reference 7.2).
    A batch with pixels under ``start`` is attacked from there, whatever ``random_start`` says.

    Args:
        threat: threat model.
        steps: gradient steps K.
        step_size: step in pixel units of [0,1].
        objective: config of what to climb.
        random_start: start uniformly in the ball (True), at the image (False), or at the image plus small normal noise,
            clipped ('normal', as TRADES and MART do); a draw depends on (seed, epoch, image index) only.
        start_std: standard deviation of the noise of 'normal' in pixel units of [0,1].
        restarts: independent starts; of each image the first broken (else the highest-scoring) result is kept.
        momentum: decay of the sum of gradients that steps follow (:class:`~natx.attacks.steps.MomentumStep`); 0 for
            none, 1 as in MI-FGSM.
        milestones: step counts that each get a column (PGD-10, PGD-20, ...) from this one trajectory; the last
            must equal ``steps``.
    """

    def __init__(
        self,
        threat: Any,
        steps: int = 10,
        *,
        step_size: float = 2 / 255,
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
        self.steps, self.step_size = steps, step_size
        self.momentum = momentum or None  # None: no part of the description
        self.random_start, self.restarts = random_start, restarts
        self.start_std = start_std if random_start == "normal" else None  # None: no part of the description
        self.milestones = tuple(milestones) if milestones is not None else None
        if not isinstance(objective, Objective):
            objective = OBJECTIVES.build(objective or dict(type="CrossEntropy"))
        if objective.needs_random_start and not random_start:
            raise ConfigError(
                f"{type(objective).__name__} has no gradient at the clean image: use random_start=True or 'normal'"
            )
        self.objective = objective
        super().__init__(threat, **kwargs)

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
        return self.objective.observe(dataset, predictions)

    def run(self, victim: Victim, *, epoch: int = 0) -> Tensor:
        """The last iterate (of the best restart)."""
        self._prepare(victim)
        if self.restarts == 1:
            return self._ascend(victim, epoch=epoch, restart=0)
        best, best_score = victim.x.clone(), victim.x.new_full((len(victim),), -torch.inf)
        for restart in range(self.restarts):
            x_adv = self._ascend(victim, epoch=epoch, restart=restart)
            with torch.no_grad():
                output = victim.output(x_adv)
                victim.cost.forwards += self.objective.cost()[0] * len(victim)
                score = self.objective(output, victim.batch, x=x_adv).to(best_score.dtype)
            if victim.task.per_image_success:  # a broken image beats any score
                score = torch.where(victim.task.correct(output), score, torch.inf)
            better = score > best_score
            best[better], best_score[better] = x_adv[better], score[better]
        return best

    def run_judged(self, victim: Victim, *, success: Success) -> Attacked:
        """Follow each restart and record success on the way; no step is spent on an image that is already broken.

        Under 'last' every image takes every step (the convention of the paper and of torchattacks). A task without
        per-image success gets :meth:`run`'s result and no columns.
        """
        if not victim.task.per_image_success:
            return Attacked(self.run(victim))
        self._prepare(victim)
        marks = self.milestones or (self.steps,)
        broken = torch.zeros(len(marks), len(victim), dtype=torch.bool, device=victim.x.device)  # [milestones, N]
        x_adv = victim.x.clone()
        follow = self._follow_any if success == "any" else self._follow_last
        for restart in range(self.restarts):
            follow(victim, restart, marks=marks, broken=broken, x_adv=x_adv)
        return Attacked(x_adv, dict(zip(self.columns(), broken)))

    def _follow_any(self, victim: Victim, restart: int, *, marks: Sequence[int], broken: Tensor, x_adv: Tensor) -> None:
        """One trajectory in which an image that breaks leaves the batch; fills ``broken`` and ``x_adv``."""
        settled = broken[-1].clone()  # broken by an earlier restart: that result is kept
        active = (~broken[0]).nonzero().squeeze(1)  # a later start may still break an image in fewer steps
        if len(active) < len(victim):
            victim = victim.select(active)
        current, move = self._start(victim, epoch=0, restart=restart), self._step()
        limits = torch.tensor(marks, device=current.device)
        for step in range(self.steps + 1):
            if len(active) == 0:
                return
            if step < self.steps:
                grad, output, scores = victim.gradient(current, self.objective)
            else:
                with torch.no_grad():
                    grad, output = None, victim.output(current)
            wrong = ~victim.task.correct(output)
            if wrong.any():
                gone = active[wrong]
                broken[:, gone] |= (step <= limits)[:, None]
                x_adv[gone] = torch.where(settled[gone].view(-1, 1, 1, 1), x_adv[gone], current[wrong])
                stay = (~wrong).nonzero().squeeze(1)
                active, current, victim = active[stay], current[stay], victim.select(stay)
                if grad is not None:
                    grad, scores = grad[stay], scores[stay]
                    move.select(stay)
            if grad is None:
                x_adv[active] = torch.where(settled[active].view(-1, 1, 1, 1), x_adv[active], current)
            else:
                current = move(victim.ball, current, grad, scores)

    def _follow_last(
        self, victim: Victim, restart: int, *, marks: Sequence[int], broken: Tensor, x_adv: Tensor
    ) -> None:
        """One full trajectory, looked at where a milestone ends; fills ``broken`` and ``x_adv``."""
        current, move = self._start(victim, epoch=0, restart=restart), self._step()
        settled = broken[-1].clone()  # broken by an earlier restart: that result is kept
        for step in range(self.steps + 1):
            if step < self.steps:
                grad, output, scores = victim.gradient(current, self.objective)
            else:
                with torch.no_grad():
                    grad, output = None, victim.output(current)
            if step in marks:
                broken[marks.index(step)] |= ~victim.task.correct(output)
            if grad is not None:
                current = move(victim.ball, current, grad, scores)
        x_adv[~settled] = current[~settled]

    def _prepare(self, victim: Victim) -> None:
        victim.batch = {**victim.batch, **self.objective.prepare(victim.task, victim.batch, x=victim.x)}
        victim.cost.forwards += self.objective.prepare_forwards * len(victim)

    def _start(self, victim: Victim, *, epoch: int, restart: int) -> Tensor:
        if START in victim.batch:
            return victim.ball.project(victim.batch[START])
        if not self.random_start:
            return victim.x.clone()
        if self.random_start == "normal":
            noise = victim.noise(self.seed, epoch=epoch, stream=restart, draw=normal)
            return victim.ball.project(victim.x + self.start_std * noise.to(victim.x.dtype))
        return victim.ball.start(victim.noise(self.seed, epoch=epoch, stream=restart))

    def _step(self) -> Step:
        """How a trajectory moves."""
        return MomentumStep(self.step_size, decay=self.momentum) if self.momentum else Step(self.step_size)

    def _ascend(self, victim: Victim, *, epoch: int, restart: int) -> Tensor:
        x_adv, move = self._start(victim, epoch=epoch, restart=restart), self._step()
        for _ in range(self.steps):
            grad, _, scores = victim.gradient(x_adv, self.objective)
            x_adv = move(victim.ball, x_adv, grad, scores)
        return x_adv
