"""Auto-PGD on any objective, image by image."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from natx.attacks.base import Attack, Attacked, Success
from natx.attacks.pgd import PGD, Step, ascend
from natx.attacks.victim import Victim
from natx.errors import ConfigError
from natx.objectives import Objective
from natx.registry import ATTACKS
from natx.threat import L2, Ball, Linf


def checkpoints(steps: int) -> list[int]:
    """The steps at which Auto-PGD looks back: 22 % of all, then at intervals that shrink by 3 % down to 6 %."""
    before, at, numbers = 0.0, 0.22, []
    while at < 1:
        numbers.append(math.ceil(at * steps - 1e-9))
        before, at = at, at + max(at - before - 0.03, 0.06)
    return list(dict.fromkeys(numbers))


class AutoStep(Step):
    """Auto-PGD's step (Croce & Hein 2020, Algorithm 1): momentum, and a step size that each image halves by itself.

    At a checkpoint an image whose score rose in fewer than 75 % of the steps since the last one, or that has found no
    better point since then with an unchanged step size, halves its step size and goes back to its best point.

    Attributes:
        best: highest-scoring points so far ``[N, C, H, W]``.
        best_scores: their scores ``[N]``.
    """

    NEW, RISING = 0.75, 0.75  # share of the new direction against momentum; share of steps that must rise

    best: Tensor
    best_grad: Tensor  # gradients at the best points
    best_scores: Tensor
    best_at_check: Tensor  # best scores at the last checkpoint
    previous: Tensor  # the points before
    scores: Tensor  # and their scores
    sizes: Tensor  # step sizes [N]
    rises: Tensor  # steps since the last checkpoint in which the score rose, int64 [N]
    halved: Tensor  # whether the last checkpoint halved the step size, bool [N]

    def __init__(self, size: float, *, steps: int) -> None:
        super().__init__(size)
        self.done, self.last_check, self.at = 0, 0, set(checkpoints(steps))

    def __call__(self, ball: Ball, x: Tensor, grad: Tensor, scores: Tensor) -> Tensor:
        """See :meth:`Step.__call__`; ``x`` is kept."""
        if self.done == 0:
            self._begin(x, grad, scores)
        else:
            self._learn(x, grad, scores)
        if self.done in self.at:
            x, grad, scores = self._look_back(x, grad, scores)
        sizes = self.sizes.view(-1, *[1] * (x.dim() - 1))
        moved = ball.project(x + sizes * ball.steepest(grad))
        if self.done > 0:
            moved = ball.project(x + self.NEW * (moved - x) + (1 - self.NEW) * (x - self.previous))
        self.previous, self.scores = x, scores
        self.done += 1
        return moved

    def select(self, rows: Tensor) -> None:
        """See :meth:`Step.select`."""
        if self.done == 0:
            return
        for name in ("best", "best_grad", "best_scores", "best_at_check", "previous", "scores"):
            setattr(self, name, getattr(self, name)[rows])
        self.sizes, self.rises, self.halved = self.sizes[rows], self.rises[rows], self.halved[rows]

    def keep_best(self, x: Tensor, scores: Tensor) -> None:
        """Take points into account that are not stepped from."""
        better = scores > self.best_scores
        self.best = torch.where(better.view(-1, *[1] * (x.dim() - 1)), x, self.best)
        self.best_scores = torch.where(better, scores, self.best_scores)

    def _begin(self, x: Tensor, grad: Tensor, scores: Tensor) -> None:
        self.best, self.best_grad, self.best_scores, self.best_at_check = x, grad, scores, scores
        self.previous, self.scores = x, scores
        self.sizes = torch.full((len(x),), self.size, dtype=x.dtype, device=x.device)
        self.rises = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        self.halved = torch.zeros(len(x), dtype=torch.bool, device=x.device)

    def _learn(self, x: Tensor, grad: Tensor, scores: Tensor) -> None:
        self.rises = self.rises + (scores > self.scores)
        better = (scores > self.best_scores).view(-1, *[1] * (x.dim() - 1))
        self.best_grad = torch.where(better, grad, self.best_grad)
        self.keep_best(x, scores)

    def _look_back(self, x: Tensor, grad: Tensor, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Halve step sizes where a condition holds; the points to go on from, their gradients and scores."""
        wavering = self.rises < self.RISING * (self.done - self.last_check)
        stuck = ~self.halved & (self.best_scores <= self.best_at_check)
        self.halved = wavering | stuck
        self.sizes = torch.where(self.halved, self.sizes / 2, self.sizes)
        self.rises, self.best_at_check, self.last_check = torch.zeros_like(self.rises), self.best_scores, self.done
        back = self.halved.view(-1, *[1] * (x.dim() - 1))
        x, grad = torch.where(back, self.best, x), torch.where(back, self.best_grad, grad)
        return x, grad, torch.where(self.halved, self.best_scores, scores)


@ATTACKS.register_module()
class AutoPGD(PGD):
    """Auto-PGD (Croce & Hein 2020, Algorithm 1) that climbs any objective with one score an image.

    :class:`~natx.attacks.APGD` is the authors' code, for cross-entropy and (targeted) DLR. This one follows the paper's
    text for all objectives, with natx's random starts, so that an image is attacked the same in any batch; broken
    images leave the batch. Deviations: random starts are PGD's (the authors' code starts on the rim), and
    rises are counted from the point gone back to.

    Without a label to judge by, and under success='last', the highest-scoring point counts.

    Args:
        threat: Linf or L2.
        steps: iterations.
        objective: config of what to climb; cross-entropy by default.
        **kwargs: ``random_start``, ``restarts`` and those of :class:`~natx.attacks.base.Attack`.

    Raises:
        ConfigError: another norm, an objective that is no score of each image, or a setting that Auto-PGD decides.
    """

    def __init__(
        self, threat: Any, steps: int = 100, *, objective: Objective | dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        decided = {"step_size", "momentum", "milestones"} & set(kwargs)
        if decided:
            raise ConfigError(f"AutoPGD decides on its steps by itself; for {', '.join(sorted(decided))} use PGD")
        super().__init__(threat, steps, objective=objective, **kwargs)
        if not isinstance(self.threat, (Linf, L2)):
            raise ConfigError(f"AutoPGD works under Linf and L2; got {self.threat}")
        if not self.objective.per_image:
            raise ConfigError(
                f"AutoPGD sets each image's step by its score; {type(self.objective).__name__} is no per-image score"
            )
        self.step_size = 2 * self.threat.radius

    def default_name(self) -> str:
        """``AutoPGD-K``."""
        return f"AutoPGD-{self.steps}"

    def cost_per_image(self) -> tuple[float, float]:
        """That of PGD, and a forward a restart to score the last point."""
        forwards, backwards = super().cost_per_image()
        return (forwards + self.restarts * (1 + self.objective.cost()[0]), backwards)

    def run_judged(self, victim: Victim, *, success: Success) -> Attacked:
        """As :class:`~natx.attacks.PGD` under 'any'; under 'last' the best point is looked at."""
        if success == "any":
            return super().run_judged(victim, success=success)
        return Attack.run_judged(self, victim, success=success)

    def step(self) -> AutoStep:
        """See :meth:`PGD.step`."""
        return AutoStep(self.step_size, steps=self.steps)

    def ascend(self, victim: Victim, *, epoch: int, restart: int) -> Tensor:
        """The highest-scoring point of a trajectory, its last one included."""
        start, step = self.start(victim, epoch=epoch, restart=restart), self.step()
        x_adv = ascend(victim, self.objective, start=start, steps=self.steps, step=step)
        step.keep_best(x_adv, victim.scored(x_adv, self.objective)[1])
        return step.best
