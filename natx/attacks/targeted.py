"""A targeted attack run towards one wrong class after another."""

from __future__ import annotations

import copy
from typing import Any, Literal

import torch
from torch import Tensor

from natx.attacks.base import Attack, Attacked, Success, build_attack
from natx.attacks.several import check_modes
from natx.attacks.victim import Victim
from natx.errors import ConfigError, UnsupportedError
from natx.objectives import TARGET, TargetedObjective, margin
from natx.registry import ATTACKS
from natx.runtime.precision import full_precision
from natx.task import Output, Task
from natx.threat import ThreatModel


@ATTACKS.register_module()
class Targeted(Attack):
    """Runs an attack towards each image's most likely wrong classes and keeps the worst result.

    The classes are ordered by the clean logits. When judged, an image that is misclassified, as whatever class, leaves
    the batch; of the others the result with the largest margin ``max_{j != y} z_j - z_y`` is kept. All classes are
    aimed at from the same random start. ``dict(type="AutoPGD", objective=dict(type="TargetedDLR"))`` with nine targets
    is AutoAttack's APGD-T in all but its starts.

    Args:
        threat: threat model of the attack.
        attack: config of an attack without a threat model of its own, on a targeted objective
            (:mod:`natx.objectives`), with one column.
        targets: number of classes aimed at, or 'all' wrong ones; more than there are wrong classes means all of them.

    Raises:
        ConfigError: an attack that is not targeted; or, when it runs, a task without one class per image.
    """

    works_under = (ThreatModel,)  # the attack inside decides

    def __init__(
        self,
        threat: ThreatModel | dict[str, Any],
        attack: Attack | dict[str, Any],
        *,
        targets: int | Literal["all"] = 9,
        **kwargs: Any,
    ) -> None:
        if targets != "all" and (isinstance(targets, (bool, str)) or targets < 1):
            raise ConfigError(f"targets is the number of wrong classes to aim at, or 'all'; got {targets!r}")
        self.targets = targets
        super().__init__(threat, **kwargs)
        self.attack = build_attack(attack, threat=self.threat)
        check_modes(self, self.attack)
        if self.attack.threat != self.threat:
            raise ConfigError("the attack of Targeted has its threat model: leave out its own")
        objective = getattr(self.attack, "objective", None)
        if not isinstance(objective, TargetedObjective):
            kind = type(self.attack if objective is None else objective).__name__
            raise ConfigError(
                f"Targeted needs an attack on TargetedCrossEntropy, TargetedMargin or TargetedDLR; got {kind}"
            )
        self._objective = objective
        if len(self.attack.columns()) > 1:
            raise ConfigError("the attack of Targeted has one column: leave out its milestones")

    def default_name(self) -> str:
        """``Targeted``."""
        return "Targeted"

    def check(self, task: Task) -> None:
        """See :meth:`Attack.check`; an image needs one class."""
        if not task.per_image_success:
            raise UnsupportedError(
                f"Targeted aims at the class of a whole image, which a {type(task).__name__} has not: use PGD on an "
                "objective of its own"
            )
        self.attack.check(task)

    def shortfalls(self) -> list[str]:
        """See :meth:`Attack.shortfalls`: those of the attack inside."""
        return self.attack.shortfalls()

    def cost_per_image(self) -> tuple[float, float] | None:
        """For each target the attack's and a forward, and one to order them; None for 'all', which a model decides."""
        cost = self.attack.cost_per_image()
        if cost is None or self.targets == "all":
            return None
        return (1 + self.targets * (cost[0] + 1), self.targets * cost[1])

    def scaled(self, factor: float) -> Targeted:
        """See :meth:`Attack.scaled`."""
        attack = copy.copy(self)
        attack.threat, attack.attack = self.threat.scaled(factor), self.attack.scaled(factor)
        return attack

    def describe(self) -> dict[str, Any]:
        """See :meth:`Attack.describe`."""
        return {**super().describe(), "targets": self.targets, "attack": self.attack.describe_inner()}

    def run(self, victim: Victim, *, epoch: int = 0) -> Tensor:
        """The result with the largest margin; every image is attacked towards every target."""
        order, _ = self._begin(victim)
        worst, highest = victim.x.clone(), victim.x.new_full((len(victim),), -torch.inf)
        for targets in order.unbind(1):
            x_adv = self.attack.run(_towards(victim, targets), epoch=epoch).detach()
            self._keep(victim, x_adv, torch.arange(len(victim), device=x_adv.device), worst=worst, highest=highest)
        return worst

    def run_judged(self, victim: Victim, *, success: Success) -> Attacked:
        """Towards one class after another, each on the images that are still right.

        Under 'any' an image that is misclassified without attack is broken, and nothing is spent on it.
        """
        order, output = self._begin(victim)
        worst, highest = victim.x.clone(), victim.x.new_full((len(victim),), -torch.inf)
        broken = victim.wrong(output) if success == "any" else torch.zeros(len(victim), dtype=torch.bool)
        broken = broken.to(victim.x.device)
        for targets in order.unbind(1):
            active = (~broken).nonzero().squeeze(1)
            if len(active) == 0:
                break
            part = victim if len(active) == len(victim) else victim.select(active)
            attacked = self.attack.run_judged(_towards(part, targets[active]), success=success)
            (outcome,) = attacked.broken.values()
            fallen = active[outcome]
            broken[fallen], worst[fallen] = True, attacked.x_adv[outcome]
            if not outcome.all():
                rest = (~outcome).nonzero().squeeze(1)
                self._keep(part.select(rest), attacked.x_adv[rest], active[rest], worst=worst, highest=highest)
        return Attacked(worst, {self.name: broken})

    def _begin(self, victim: Victim) -> tuple[Tensor, Output]:
        """The wrong classes to aim at ``[N, targets]``, the likeliest first, and the clean output."""
        self.attack.seed = self.seed  # the one a caller may have set since
        with torch.no_grad():
            output = victim.output(victim.x)
        labels = self._objective.hard_labels(output)
        wrong = full_precision(output.logits).scatter(1, labels[:, None], -torch.inf)
        count = wrong.shape[1] - 1 if self.targets == "all" else min(self.targets, wrong.shape[1] - 1)
        return wrong.sort(dim=1, descending=True, stable=True).indices[:, :count], output

    def _keep(self, part: Victim, x_adv: Tensor, rows: Tensor, *, worst: Tensor, highest: Tensor) -> None:
        """Put results into ``worst`` at ``rows`` where their margins are above ``highest``; one forward."""
        with torch.no_grad():
            output = part.output(x_adv)
        score = margin(full_precision(output.logits), self._objective.hard_labels(output)).to(highest.dtype)
        score = score.where(output.finite(), torch.inf)
        higher = score > highest[rows]
        worst[rows] = torch.where(higher.view(-1, *[1] * (worst.dim() - 1)), x_adv, worst[rows])
        highest[rows] = torch.where(higher, score, highest[rows])


def _towards(victim: Victim, targets: Tensor) -> Victim:
    """A victim of its own on the same images, whose batch names the classes to aim at ``[N]``."""
    return victim.alike({TARGET: targets})
