"""The worst of several attacks, image by image or for a batch as a whole."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from natx.attacks.base import Attack, Victim, build_attack, total_cost
from natx.batch import Batch
from natx.errors import ConfigError
from natx.objectives import Objective, build_objective
from natx.registry import ATTACKS
from natx.runtime.precision import full_precision
from natx.task import Output, Task
from natx.threat import ThreatModel


class TrainingLoss(Objective):
    """The sum of the task's training losses, which are means over the batch: the same score for every image."""

    per_image = False

    def __call__(self, output: Output, batch: Batch, *, x: Tensor) -> Tensor:
        """See :meth:`Objective.__call__`."""
        total = torch.stack([full_precision(loss) for loss in output.losses.values()]).sum()
        return total.expand(output.num_images)


@ATTACKS.register_module()
class WorstOf(Attack):
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

    works_under = (ThreatModel,)  # the attacks decide

    def __init__(
        self,
        threat: Any,
        attacks: Sequence[dict[str, Any] | Attack],
        *,
        objective: Objective | dict[str, Any] | None = None,
        select: Literal["image", "batch"] = "image",
        **kwargs: Any,
    ) -> None:
        super().__init__(threat, **kwargs)
        if select not in ("image", "batch"):
            raise ConfigError(f"select is 'image' or 'batch'; got {select!r}")
        if objective is None and select == "image":
            raise ConfigError("WorstOf needs an objective to choose image by image, e.g. dict(type='ImageLoss')")
        self.select = select
        self.attacks = [build_attack(attack, threat=self.threat) for attack in attacks]
        self.objective = TrainingLoss() if objective is None else build_objective(objective)
        if not self.attacks:
            raise ConfigError("WorstOf needs at least one attack")
        if any(attack.threat != self.threat for attack in self.attacks):
            raise ConfigError("the attacks of WorstOf share its threat model: leave out theirs")
        sizes = {attack.block_size for attack in self.attacks if attack.block_size is not None}
        if len(sizes) > 1:
            raise ConfigError(f"the attacks of WorstOf share their blocks of images; got block_size {sorted(sizes)}")
        self.block_size = next(iter(sizes), None)
        if select == "image" and not self.objective.per_image:
            raise ConfigError(
                f"WorstOf chooses image by image; {type(self.objective).__name__} is no per-image score: use another, "
                "or select='batch'"
            )

    @property
    def takes_start(self) -> bool:
        """Where all attacks do."""
        return all(attack.takes_start for attack in self.attacks)

    def default_name(self) -> str:
        """``WorstOf``."""
        return "WorstOf"

    def check(self, task: Task) -> None:
        """See :meth:`Attack.check`; asks all attacks and the objective."""
        for attack in self.attacks:
            attack.check(task)
        self.objective.check(task)

    def shortfalls(self) -> list[str]:
        """See :meth:`Attack.shortfalls`: those of the attacks inside."""
        return [note for attack in self.attacks for note in attack.shortfalls()]

    def cost_per_image(self) -> tuple[float, float] | None:
        """The attacks' costs and one forward each to score them."""
        cost = total_cost(self.attacks)
        extra = self.objective.prepare_forwards + len(self.attacks) * (1 + self.objective.cost()[0])
        return None if cost is None else (cost[0] + extra, cost[1])

    def scaled(self, factor: float) -> WorstOf:
        """See :meth:`Attack.scaled`."""
        attack = copy.copy(self)
        attack.threat, attack.attacks = self.threat.scaled(factor), [one.scaled(factor) for one in self.attacks]
        return attack

    def describe(self) -> dict[str, Any]:
        """See :meth:`Attack.describe`."""
        inner = "; ".join(attack.describe_inner() for attack in self.attacks)
        return {**super().describe(), **self.objective.describe(), "attacks": inner}

    def observe(self, dataset: Any, predictions: Any) -> list[str]:
        """See :meth:`Attack.observe`; passed on to all attacks and the objective."""
        parts: list[Attack | Objective] = [*self.attacks, self.objective]
        notes = [note for part in parts for note in part.observe(dataset, predictions)]
        return list(dict.fromkeys(notes))

    def images_of(self, dataset: Any) -> list[int] | None:
        """See :meth:`Attack.images_of`.

        Raises:
            ConfigError: the attacks change different images.
        """
        first, *others = [attack.images_of(dataset) for attack in self.attacks]
        if any(other != first for other in others):
            raise ConfigError(f"the attacks of {self.name} change different images of the set: list them one by one")
        return first

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
