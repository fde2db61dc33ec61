"""Case: what checks look at, with everything that several of them need computed once."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from natx.attacks import PGD, Attack, Cost, Victim
from natx.attacks.base import random_point
from natx.batch import Batch, select, to_device
from natx.checks.applicable import NotApplicableError, require_above_chance
from natx.data import some_positions
from natx.evaluation.robust import Evaluation
from natx.objectives import CrossEntropy, Objective
from natx.runtime.device import widened
from natx.runtime.precision import full_precision
from natx.task import Task
from natx.threat import NormBall

STEPS = 20  # of the attacks that checks run themselves: the PGD-20 of robustness tables
LONG = 100  # steps of the trajectory that several checks read


@dataclass(frozen=True)
class Trajectory:
    """PGD on the cross-entropy from a random start, with every iterate looked at.

    Attributes:
        loss: cross-entropy of each iterate, ``[LONG + 1, N]``; row 0 is the random start.
        wrong: which iterates are misclassified, bool ``[LONG + 1, N]``.
    """

    loss: Tensor
    wrong: Tensor

    def right(self, steps: int) -> Tensor:
        """Images that no iterate up to ``steps`` broke, bool ``[N]``."""
        return ~self.wrong[: steps + 1].any(0)


class Case:
    """A task, a part of its test images and the evaluation to be checked. Use inside ``attack_mode``.

    Args:
        task: the classifier.
        dataset: the evaluated images.
        attacks: the evaluation's attacks; their first PGD on the cross-entropy lends its step size and seed.
        threat: the threat model that the report claims.
        evaluation: the outcomes; None where nothing was evaluated yet.
        vanilla: a normally trained model of the same task, or None.
        images: how many images the checks attack: the first, or evenly spaced ones of a set that is sorted by class.
        draws: random points an image that the random search tries.
        batch_size: images per step.
    """

    def __init__(
        self,
        task: Task,
        dataset: Any,
        *,
        attacks: Sequence[Attack],
        threat: NormBall,
        evaluation: Evaluation | None = None,
        vanilla: Task | None = None,
        images: int = 200,
        draws: int = 10_000,
        batch_size: int = 250,
    ) -> None:
        self.task, self.dataset, self.attacks, self.threat = task, dataset, list(attacks), threat
        self.evaluation, self.vanilla = evaluation, vanilla
        self.draws, self.batch_size = draws, batch_size
        self.positions = some_positions(dataset, images)
        self.batch: Batch = to_device(dataset.__getitems__(self.positions), next(task.parameters()).device)
        self.labels: Tensor = self.batch["data_samples"]
        self.count = len(self.labels)
        plain = (attack for attack in self.attacks if isinstance(attack, PGD) and _is_plain(attack))
        self.model: PGD | None = next((attack for attack in plain if attack.threat == threat), None)

    @property
    def step_size(self) -> float:
        """The evaluation's step, a quarter of eps where it has no PGD."""
        return self.threat.eps / 4 if self.model is None else self.model.step_size

    @property
    def seed(self) -> int:
        """The evaluation's seed."""
        return self.attacks[0].seed if self.attacks else 0

    def pgd(self, *, objective: Objective | None = None, steps: int = STEPS, seed: int | None = None) -> PGD:
        """PGD as the evaluation sets it, with another objective, length or start."""
        return PGD(
            self.threat,
            steps,
            step_size=self.step_size,
            objective=objective or CrossEntropy(),
            seed=self.seed if seed is None else seed,
        )

    def parts(self, rows: Tensor | None = None) -> Iterator[tuple[Tensor, Batch]]:
        """The images (or those at ``rows``) in batches: positions and batch."""
        rows = torch.arange(self.count) if rows is None else rows.cpu()
        for part in rows.split(self.batch_size):
            yield part, select(self.batch, part)

    def victim(self, batch: Batch) -> Victim:
        """The task on some images under the threat model; its cost is not kept."""
        x = self.task.pixels(batch)
        return Victim(self.task, batch, ball=self.threat.around(x, self.task.perturbable(batch)), cost=Cost())

    def survivors(self, attack: Attack, *, rows: Tensor | None = None) -> Tensor:
        """Images that are right after an attack of one column, bool ``[N]``; those not in ``rows`` are False."""
        right = torch.zeros(self.count, dtype=torch.bool)
        for part, batch in self.parts(rows):
            right[part] = ~attack.judge(self.task, batch).broken[attack.name].cpu()
        return right

    def accuracy(self, right: Tensor) -> float:
        """Percent."""
        return 100 * float(right.double().mean())

    @cached_property
    def logits(self) -> Tensor:
        """Class logits of the clean images, float32 or float64 ``[N, C]``."""
        with torch.no_grad():
            parts = [self.task.logits(self.task.pixels(batch)) for _, batch in self.parts()]
        return full_precision(torch.cat(parts)).cpu()

    @cached_property
    def right(self) -> Tensor:
        """Which images are right without attack, bool ``[N]``."""
        return right_rows(self.logits, self.labels.cpu())

    def require_better_than_chance(self) -> float:
        """Clean accuracy (%) of the checked images; NotApplicableError where there is little for an attack to take."""
        accuracy = self.accuracy(self.right)
        require_above_chance(accuracy, self.task.num_classes)
        return accuracy

    @cached_property
    def differentiable(self) -> bool:
        """Whether the loss depends on the pixels as far as autograd knows."""
        _, batch = next(self.parts(torch.zeros(1, dtype=torch.int64)))
        x = self.task.pixels(batch).detach().requires_grad_()
        with torch.enable_grad():
            logits = self.task.logits(x)
            if not logits.requires_grad:
                return False
            (grad,) = torch.autograd.grad(logits.sum(), x, allow_unused=True)
        return grad is not None

    def require_gradients(self) -> None:
        """NotApplicableError where autograd has no path from the pixels to the loss."""
        if not self.differentiable:
            raise NotApplicableError("autograd finds no path from the pixels to the loss; see G9")

    def gradient(self, x: Tensor, batch: Batch) -> Tensor:
        """Gradient of each image's cross-entropy ``[N, C, H, W]`` at pixels ``x``; zeros where autograd has no path."""
        if not self.differentiable:
            return torch.zeros_like(x)
        return self.victim(batch).gradient(x, CrossEntropy())[0]

    def loss(self, x: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy of each image at pixels ``x``, in float64 from the model's logits ``[N]``."""
        with torch.no_grad():
            return F.cross_entropy(widened(self.task.logits(x)), batch["data_samples"], reduction="none")

    @cached_property
    def trajectory(self) -> Trajectory:
        """One long PGD over all images; raises NotApplicableError without gradients."""
        self.require_gradients()
        parts = [self._trajectory(batch) for _, batch in self.parts()]
        return Trajectory(torch.cat([p.loss for p in parts], 1), torch.cat([p.wrong for p in parts], 1))

    def _trajectory(self, batch: Batch) -> Trajectory:
        victim, climbed = self.victim(batch), CrossEntropy()
        # The start of the evaluation's PGD.
        x_adv = random_point(victim.ball, batch["index"], seed=self.seed, epoch=0, stream=0)
        loss, wrong = [], []
        for _ in range(LONG + 1):
            grad, output, scores = victim.gradient(x_adv, climbed)
            loss.append(scores.cpu())
            wrong.append(~self.task.correct(output).cpu())
            x_adv = victim.ball.project(x_adv + self.step_size * victim.ball.steepest(grad))
        return Trajectory(torch.stack(loss), torch.stack(wrong))

    @cached_property
    def pgd_right(self) -> Tensor:
        """Images that are right without attack and that no iterate of PGD-20 broke, bool ``[N]``."""
        return self.right & self.trajectory.right(STEPS)

    def with_model(self, task: Task) -> Case:
        """The same images and attacks on another model."""
        other = copy.copy(self)
        for name, entry in vars(type(self)).items():
            if isinstance(entry, cached_property):
                vars(other).pop(name, None)
        other.task = task
        return other


def right_rows(logits: Tensor, labels: Tensor) -> Tensor:
    """Which rows ``[N, C]`` are of their class ``[N]``, bool ``[N]``; never those that are no numbers.

    argmax would take these for class 0.
    """
    return (logits.argmax(1) == labels) & torch.isfinite(logits).all(1)


def _is_plain(attack: PGD) -> bool:
    return type(attack) is PGD and isinstance(attack.objective, CrossEntropy)
