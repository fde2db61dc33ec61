"""The worst of several attacks, image by image or for a batch as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from natx.attacks.base import Attack, total_cost
from natx.attacks.several import Several
from natx.attacks.victim import Victim
from natx.batch import Batch
from natx.errors import ConfigError
from natx.objectives import Objective, build_objective
from natx.registry import ATTACKS
from natx.runtime.precision import full_precision
from natx.task import Output


class TrainingLoss(Objective):
    """The sum of the task's training losses, which are means over the batch: the same score for every image."""

    per_image = False

    def __call__(self, output: Output, batch: Batch, *, x: Tensor) -> Tensor:
        """See :meth:`Objective.__call__`."""
        total = torch.stack([full_precision(loss) for loss in output.losses.values()]).sum()
        return total.expand(output.num_images)


@ATTACKS.register_module()
class WorstOf(Several):
    """Runs several attacks within one threat model and keeps, for each image, the result an objective scores highest.

    The inner maximisation of MTD (Zhang & Wang 2019): one attack climbs the classification loss, one the localisation
    loss, and the total loss decides. Ties go to the attack listed first. All attacks share the seed, so those with a
    random start begin at the same point of the ball, from which MTD too takes both of its steps; starts of their own
    would cover more of the ball, and where that is wanted ``restarts`` of an attack gives them.

    With ``select="batch"`` one attack's results are kept for all images of the batch: those whose scores have the
    largest sum. This is how RobustDet's published code trains MTD (Dong et al. 2022); which images share a batch then
    matters, and each process decides for its own.

    Args:
        threat: threat model of all attacks.
        attacks: configs of the attacks, without a threat model or seed of their own.
        objective: config of the score that decides, per image unless a batch is decided as a whole. None, for whole
            batches only, is the task's training loss of the batch.
        select: 'image' or 'batch', what is decided on at once.
    """

    def __init__(
        self,
        threat: Any,
        attacks: Sequence[dict[str, Any] | Attack],
        *,
        objective: Objective | dict[str, Any] | None = None,
        select: Literal["image", "batch"] = "image",
        **kwargs: Any,
    ) -> None:
        if select not in ("image", "batch"):
            raise ConfigError(f"select is 'image' or 'batch'; got {select!r}")
        if objective is None and select == "image":
            raise ConfigError("WorstOf needs an objective to choose image by image, e.g. dict(type='ImageLoss')")
        super().__init__(threat, attacks, **kwargs)
        self.select = select
        self.objective = TrainingLoss() if objective is None else build_objective(objective)
        if select == "image" and not self.objective.per_image:
            raise ConfigError(
                f"WorstOf chooses image by image; {type(self.objective).__name__} is no per-image score: use another, "
                "or select='batch'"
            )

    @property
    def parts(self) -> list[Attack | Objective]:
        """See :attr:`Several.parts`; the objective among them."""
        return [*self.attacks, self.objective]

    def cost_per_image(self) -> tuple[float, float] | None:
        """The attacks' costs and one forward each to score them."""
        cost = total_cost(self.attacks)
        extra = self.objective.prepare_forwards + len(self.attacks) * (1 + self.objective.cost()[0])
        return None if cost is None else (cost[0] + extra, cost[1])

    def describe(self) -> dict[str, Any]:
        """See :meth:`Attack.describe`."""
        return {**super().describe(), **self.objective.describe()}

    def run(self, victim: Victim, *, epoch: int = 0) -> Tensor:
        """The highest-scoring result of each image, or of the batch."""
        scored = victim.alike(self.objective.prepare(victim.task, victim.batch, x=victim.x))
        victim.cost.forwards += self.objective.prepare_forwards * len(victim)
        worst, highest = victim.x.clone(), victim.x.new_full((len(victim),), -torch.inf)
        for attack in self.attacks:
            attack.seed = self.seed  # one seed for all, the one a caller may have set since
            # A victim of its own: an attack adds entries to its batch.
            x_adv = attack.run(victim.alike(), epoch=epoch)
            scores = scored.scored(x_adv, self.objective)[1].to(highest.dtype)
            if self.select == "batch":
                scores = scores.sum().expand(len(victim))
            higher = scores > highest
            worst = torch.where(higher.view(-1, *[1] * (worst.dim() - 1)), x_adv.detach(), worst)
            highest = torch.where(higher, scores, highest)
            del x_adv  # not held while the next attack runs
        return worst
