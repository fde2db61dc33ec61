"""Black-box transfer: crafted on a source model, judged on the target."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor

from natx.attacks.base import Attack, Attacked, Success, build_attack, total_cost
from natx.attacks.several import check_modes
from natx.attacks.victim import Victim
from natx.batch import START
from natx.errors import ConfigError
from natx.models.adversary import Adversary, build_adversary
from natx.models.mode import attack_mode
from natx.registry import ATTACKS
from natx.task import Task
from natx.threat import ThreatModel


@ATTACKS.register_module()
class Transfer(Attack):
    """Runs an attack on a frozen source model, whose result the target then has to classify (Papernot et al. 2017).

    The attack on the source goes to its end, whatever the source says on the way: a point that the source barely gets
    wrong transfers badly. The target is asked once, about the result; with ``refine`` a second attack goes on from
    there on the target itself, which is no black-box attack but finds what the target's own gradient hides. Under
    'any' an image that the result alone breaks counts as broken. The counted cost is the source's and the target's.

    Args:
        threat: threat model of both attacks.
        source: config of the source model (:func:`natx.models.adversary.build_adversary`), or one; a single model.
        attack: config of the attack on the source, without a threat model of its own.
        refine: config of an attack that starts where the first one ended (PGD and its kin, without restarts), with one
            column; None to judge the result alone.

    Raises:
        ConfigError: a source of several models, an attack that does not fit; or, when it runs, a source with other
            classes or another input size than the target.
    """

    works_under = (ThreatModel,)  # the attacks inside decide
    information = "other models"

    def __init__(
        self,
        threat: ThreatModel | dict[str, Any],
        source: Adversary | dict[str, Any],
        attack: Attack | dict[str, Any],
        *,
        refine: Attack | dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(threat, **kwargs)
        self.attack = build_attack(attack, threat=self.threat)
        self.refine = None if refine is None else build_attack(refine, threat=self.threat)
        if self.attack.bn_mode != "eval":
            raise ConfigError("the source of Transfer is frozen, in eval mode: leave out bn_mode of the attack on it")
        check_modes(self, *([] if self.refine is None else [self.refine]))
        if any(part.threat != self.threat for part in self._parts()):
            raise ConfigError("the attacks of Transfer share its threat model: leave out theirs")
        if self.refine is not None and not self.refine.takes_start:
            raise ConfigError(
                f"refine starts where the transferred attack ended, which {type(self.refine).__name__} with these "
                "settings does not: use PGD without restarts"
            )
        if self.refine is not None and len(self.refine.columns()) > 1:
            raise ConfigError("refine has one column: leave out its milestones")
        self.block_size = self.attack.block_size
        self.source = build_adversary(source, role="source")
        if len(self.source) > 1:
            raise ConfigError(f"Transfer crafts on one source model; got {len(self.source)}: add an attack for each")

    def default_name(self) -> str:
        """``Transfer``."""
        return "Transfer"

    def check(self, task: Task) -> None:
        """Raise ConfigError where source and target have other classes or input sizes."""
        self.source.check(task)
        for part in self._parts():
            part.check(task)

    def shortfalls(self) -> list[str]:
        """See :meth:`Attack.shortfalls`: those of the attacks inside."""
        return [note for attack in self._parts() for note in attack.shortfalls()]

    def cost_per_image(self) -> tuple[float, float] | None:
        """Those of the attack on the source and of the refinement."""
        return total_cost(self._parts())

    def scaled(self, factor: float) -> Transfer:
        """See :meth:`Attack.scaled`."""
        attack = copy.copy(self)
        attack.threat, attack.attack = self.threat.scaled(factor), self.attack.scaled(factor)
        attack.refine = None if self.refine is None else self.refine.scaled(factor)
        return attack

    def describe(self) -> dict[str, Any]:
        """See :meth:`Attack.describe`; adds the source's weights and what runs on it."""
        parts = {"attack": self.attack, **({} if self.refine is None else {"refine": self.refine})}
        inner = {key: part.describe_inner() for key, part in parts.items()}
        return {**super().describe(), "source": self.source.origin, **inner}

    def observe(self, dataset: Any, predictions: Any) -> list[str]:
        """See :meth:`Attack.observe`; passed on."""
        notes = [note for part in self._parts() for note in part.observe(dataset, predictions)]
        return list(dict.fromkeys(notes))

    def images_of(self, dataset: Any) -> list[int] | None:
        """See :meth:`Attack.images_of`; those of what runs on the source."""
        return self.attack.images_of(dataset)

    def run(self, victim: Victim, *, epoch: int = 0) -> Tensor:
        """The pixels found on the source, refined on the target where that is asked for."""
        x_adv = self._craft(victim, epoch=epoch)
        return x_adv if self.refine is None else self.refine.run(_from(victim, x_adv), epoch=epoch)

    def run_judged(self, victim: Victim, *, success: Success) -> Attacked:
        """What the target makes of the result, or of its refinement."""
        if self.refine is None or not victim.task.per_image_success:
            return super().run_judged(victim, success=success)
        refined = self.refine.run_judged(_from(victim, self._craft(victim)), success=success)
        (broken,) = refined.broken.values()
        return Attacked(refined.x_adv, {self.name: broken}, notes=refined.notes)

    def _parts(self) -> list[Attack]:
        return [part for part in (self.attack, self.refine) if part is not None]

    def _craft(self, victim: Victim, *, epoch: int = 0) -> Tensor:
        """Pixels from the attack on the source, in the target's ball ``[N, C, H, W]``."""
        (task,) = self.source.to(victim.x.device).tasks
        for part in self._parts():
            part.seed = self.seed  # one seed for both, the one a caller may have set since
        with attack_mode(task):
            return self.attack.run(victim.alike(task=task), epoch=epoch).detach()


def _from(victim: Victim, x_adv: Tensor) -> Victim:
    """A victim of its own on the same images, whose batch names the pixels to begin at."""
    return victim.alike({START: x_adv})
