"""How an iterative attack moves: along the gradient, with momentum, or with Auto-PGD's step sizes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from natx.threat import Ball, LinfBall


class Step:
    """The next iterate from a point, its gradient and its scores; a new one for each trajectory.

    Args:
        size: step size in pixel units of [0,1].
    """

    def __init__(self, size: float) -> None:
        self.size = size

    def __call__(self, ball: Ball, x: Tensor, grad: Tensor, scores: Tensor) -> Tensor:
        """The images ``[N, C, H, W]`` after one step, inside the ball; ``x`` may be overwritten."""
        return ball.step(x, grad, self.size)

    def select(self, rows: Tensor) -> None:
        """Go on with the images at positions ``rows`` only."""


class MomentumStep(Step):
    """Along a decaying sum of gradients, each divided by its L1 norm (Dong et al. 2018, MI-FGSM).

    Args:
        size: step size in pixel units of [0,1].
        decay: what remains of the sum after each step; 1 in the paper.
    """

    def __init__(self, size: float, *, decay: float) -> None:
        super().__init__(size)
        self.decay, self.total = decay, None

    def __call__(self, ball: Ball, x: Tensor, grad: Tensor, scores: Tensor) -> Tensor:
        """See :meth:`Step.__call__`."""
        length = grad.flatten(1).abs().sum(1).clamp_min(torch.finfo(grad.dtype).tiny)
        unit = grad / length.view(-1, *[1] * (grad.dim() - 1))
        self.total = unit if self.total is None else self.decay * self.total + unit
        return ball.step(x, self.total, self.size)

    def select(self, rows: Tensor) -> None:
        """See :meth:`Step.select`."""
        self.total = None if self.total is None else self.total[rows]


def checkpoints(steps: int) -> list[int]:
    """The steps at which Auto-PGD looks back: 22 % of all, then at intervals that shrink by 3 % down to 6 %."""
    before, at, found = 0.0, 0.22, []
    while at < 1:
        found.append(math.ceil(at * steps - 1e-9))
        before, at = at, at + max(at - before - 0.03, 0.06)
    return list(dict.fromkeys(found))


class AutoStep(Step):
    """Auto-PGD's step (Croce & Hein 2020, Algorithm 1): momentum, and a step size that each image halves by itself.

    At a checkpoint an image whose score rose in fewer than 75 % of the steps since the last one, or that has found no
    better point since then with an unchanged step size, halves its step size and goes back to its best point.

    Attributes:
        best: highest-scoring points so far ``[N, C, H, W]``.
        best_scores: their scores ``[N]``.
    """

    NEW, RISING = 0.75, 0.75  # share of the new direction against momentum; share of steps that must rise

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
        if isinstance(ball, LinfBall):
            moved = ball.project(x + sizes * grad.sign())
        else:
            moved = ball.step(x, grad, self.sizes.view(-1, 1))
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
        self.sizes = torch.full((len(x),), self.size, dtype=x.dtype, device=x.device)  # [N]
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
