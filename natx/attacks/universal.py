"""Universal perturbations: one for all images, fitted on some and judged on others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from natx.attacks.base import Attack, Attacked, Success, random_point
from natx.attacks.patch import GREY, Patch, PatchBall
from natx.attacks.pgd import STEPS_ACROSS
from natx.attacks.tally import Tally
from natx.attacks.victim import Cost, Victim
from natx.batch import size, to_device
from natx.config import VOLATILE_DATA
from natx.data import build_dataset, subset
from natx.data.classes import align_classes
from natx.errors import ConfigError
from natx.objectives import Objective, build_objective
from natx.registry import ATTACKS
from natx.runtime.rng import uniform
from natx.task import Task
from natx.threat import Ball, NormBall

STREAM = 0x0A11  # tells its draws from other attacks'


class Added:
    """A perturbation that is added to every image ``[1, C, H, W]``, within a norm ball's radius.

    It begins with nothing, or with a draw from ``seed`` where there is one. The radius is kept by projecting around
    mid-grey, where [0,1] binds only changes of more than a half.
    """

    def __init__(self, ball: Ball, *, seed: int | None = None) -> None:
        self.threat, self.content = ball.threat, torch.zeros_like(ball.x[:1])
        if seed is not None:
            first = torch.zeros(1, dtype=torch.int64)
            grey = torch.full_like(self.content, GREY)
            self.content = random_point(self.threat.around(grey), first, seed=seed, epoch=0, stream=STREAM) - grey

    def laid(self, ball: Ball) -> Tensor:
        """The images with the perturbation, inside their ball."""
        if ball.x.shape[1:] != self.content.shape[1:]:
            sides = ["{}x{}".format(*part.shape[-2:]) for part in (ball.x, self.content)]
            raise ConfigError(
                f"one perturbation for all needs images of one size; got {sides[0]} after {sides[1]}: use a patch"
            )
        return ball.project(ball.x + self.content)

    def step(self, grad: Tensor, ball: Ball, *, length: float) -> None:
        """Move along the sum of the images' gradients ``[N, C, H, W]``."""
        grey = torch.full_like(self.content, GREY)
        around = self.threat.around(grey)
        moved = self.content + length * around.steepest(grad.sum(0, keepdim=True))
        self.content = around.project(grey + moved) - grey


class Pasted:
    """What is on a patch ``[1, C, h, w]``, the same wherever it lies; grey at first."""

    def __init__(self, ball: PatchBall) -> None:
        self.content = ball.x.new_full((1, ball.x.shape[1], *ball.threat.size), GREY)

    def laid(self, ball: PatchBall) -> Tensor:
        """The images with the patch at its place in each."""
        pixels = self.content.expand(len(ball.x), -1, -1, -1).contiguous()
        return ball.x.masked_scatter(ball.inside.expand_as(ball.x), pixels)

    def step(self, grad: Tensor, ball: PatchBall, *, length: float) -> None:
        """Move along the sum of the gradients at the patch's places."""
        inside = ball.inside.expand_as(grad)
        total = grad[inside].view(len(grad), *self.content.shape[1:]).sum(0, keepdim=True)
        self.content = (self.content + length * total.sign()).clamp(0, 1)


@dataclass(frozen=True)
class Fit:
    """What was fitted: for which model, the perturbation, and a remark for the report."""

    task: Task
    common: Any  # Added or Pasted, as the balls are that it meets
    remark: str


@ATTACKS.register_module()
class Universal(Attack):
    """One perturbation, or one patch, for all images: fitted on ``data``, laid on every image that is judged.

    Each step takes a batch of ``data`` and moves the perturbation along the sum of the images' gradients, as PGD moves
    an image along its own: by their sign under Linf and on a patch, by their length under L2 (Shafahi et al. 2020,
    "Universal Adversarial Training", Alg. 1, after Moosavi-Dezfooli et al. 2017). A patch without a corner lies at a
    random place in each image and step, as in Brown et al. 2017, and at one drawn from the image's index when judged.

    The images that it is fitted on must not be those that are judged: give training or held-out images; the report
    says which. It is fitted once, for the first images that are judged, whose cost has that of the fit. For judging: in
    training it would stay what it was for the first weights. An objective that looks at a set's clean predictions
    (guides of a metric attack) is shown those of the images of the fit; one whose gradient is zero at the clean image
    lets the perturbation begin at random.

    Args:
        threat: a norm ball, or a :class:`~natx.attacks.patch.Patch`.
        data: config of the data set that it is fitted on, or one.
        images: how many of them (:func:`natx.data.subset`); all by default.
        epochs: passes over them.
        batch_size: images a step.
        step_size: of the perturbation, in pixel units of [0,1]; a quarter of eps (or of black to white) by default.
        objective: config of what is climbed.

    Raises:
        ConfigError: numbers out of range; when it is fitted, images of several sizes under a norm ball.
        DataError: when it is fitted, classes that the model does not have.
    """

    works_under = (NormBall, Patch)

    def __init__(
        self,
        threat: Any,
        data: Any,
        *,
        images: int | None = None,
        epochs: int = 5,
        batch_size: int = 100,
        step_size: float | None = None,
        objective: Objective | dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if epochs < 1 or batch_size < 1 or (step_size is not None and not step_size > 0):
            raise ConfigError(
                "Universal needs epochs >= 1, batch_size >= 1 and step_size > 0; got "
                f"{epochs}, {batch_size} and {step_size}"
            )
        self.data, self.images, self.epochs, self.batch_size = data, images, epochs, batch_size
        self.objective = build_objective(objective)
        super().__init__(threat, **kwargs)
        self.step_size = self.threat.radius / STEPS_ACROSS if step_size is None else step_size
        self._fit: Fit | None = None

    def check(self, task: Task) -> None:
        """See :meth:`Attack.check`; asks the objective."""
        self.objective.check(task)

    def observe(self, dataset: Any, predictions: Any) -> list[str]:
        """See :meth:`Attack.observe`; the objective looks at the images of the fit, not at these."""
        return self.objective.scope(dataset)

    def images_of(self, dataset: Any) -> list[int] | None:
        """See :meth:`Attack.images_of`; the objective's."""
        return self.objective.images_of(dataset)

    def describe(self) -> dict[str, Any]:
        """See :meth:`Attack.describe`; adds where it is fitted."""
        return {**super().describe(), **self.objective.describe(), "data": self._source}

    def run(self, victim: Victim, *, epoch: int = 0) -> Tensor:
        """The images with the perturbation, which is fitted at the first call for a model."""
        if self._fit is None or self._fit.task is not victim.task:
            self._fit = self._fitted(victim)
        with torch.no_grad():
            return self._fit.common.laid(self._placed(victim, epoch=0).ball)

    def run_judged(self, victim: Victim, *, success: Success) -> Attacked:
        """See :meth:`Attack.run_judged`; adds a remark on the images of the fit."""
        attacked = super().run_judged(victim, success=success)
        assert self._fit is not None  # run has seen to it
        attacked.notes = [*attacked.notes, self._fit.remark]
        return attacked

    @property
    def _source(self) -> str:
        """The class of the data set that it is fitted on, and the settings that choose its images."""
        if not isinstance(self.data, dict):
            return type(self.data).__name__
        aside = {"type", *VOLATILE_DATA}
        settings = ", ".join(f"{key}={value}" for key, value in self.data.items() if key not in aside)
        return str(self.data["type"]) + (f" ({settings})" if settings else "")

    def _fitted(self, victim: Victim) -> Fit:
        """The perturbation for a victim's model; the victim's cost gets that of the fit."""
        whole = build_dataset(self.data)
        images = subset(whole.for_evaluation() if hasattr(whole, "for_evaluation") else whole, self.images)
        images, renumbered = align_classes(images, victim.task.classes)
        self._show(images, victim)
        generator, common = torch.Generator().manual_seed(self.seed), None
        seed = self.seed if self.objective.needs_random_start else None
        tally = Tally(len(images), victim.x.device)
        for epoch in range(1, self.epochs + 1):
            order = torch.randperm(len(images), generator=generator)
            for part in order.split(self.batch_size):
                batch = to_device(images.__getitems__(part.tolist()), victim.x.device)
                one = self._placed(self.bind(victim.task, batch), epoch=epoch)
                one.tally, one.rows = tally, part.to(victim.x.device)
                one.batch = {**one.batch, **self.objective.prepare(one.task, one.batch, x=one.x)}
                one.cost += Cost(forwards=self.objective.prepare_forwards * size(batch))
                common = common or _blank(one.ball, seed=seed)
                grad, _, _ = one.gradient(common.laid(one.ball), self.objective)
                common.step(grad, one.ball, length=self.step_size)
                victim.cost += one.cost
        assert common is not None  # there is an image
        passes = f"{self.epochs} {'pass' if self.epochs == 1 else 'passes'}"
        fitted = f"fitted on {len(images)} of {self._source} in {passes}"
        # What the fit could not follow is told as of any attack: a perturbation that stays put looks like robustness.
        remarks = [f"{self.name} is one perturbation for all images, {fitted}"]
        remarks += [*(f"there {note}" for note in renumbered), *(f"of these, {note}" for note in tally.notes())]
        return Fit(victim.task, common, "; ".join(remarks))

    def _show(self, images: Any, victim: Victim) -> None:
        """Let the objective see the clean predictions of the images of the fit, where it looks at any."""
        if not self.objective.observes:
            return
        parts = torch.arange(len(images)).split(self.batch_size)
        batches = (to_device(images.__getitems__(part.tolist()), victim.x.device) for part in parts)
        self.objective.observe(images, torch.cat([victim.task.predict(batch).cpu() for batch in batches]))
        victim.cost.forwards += len(images)

    def _placed(self, victim: Victim, *, epoch: int) -> Victim:
        """The victim with its patch at a place; itself under a norm ball and where the place is fixed."""
        ball = victim.ball
        if not isinstance(ball, PatchBall) or ball.corners is not None:
            return victim
        index = victim.batch["index"].to(victim.x.device)
        return victim.alike(ball=ball.at_random(uniform(index, (2,), seed=self.seed, epoch=epoch, stream=STREAM)))


def _blank(ball: Ball, *, seed: int | None) -> Any:
    """A perturbation to begin with, drawn from a seed under a norm ball where there is one; a grey patch moves all."""
    return Pasted(ball) if isinstance(ball, PatchBall) else Added(ball, seed=seed)
