"""What attacks that run several others share."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, TypeVar

from natx.attacks.base import Attack, build_attack
from natx.errors import ConfigError
from natx.objectives import Objective
from natx.task import Task
from natx.threat import ThreatModel

Own = TypeVar("Own", bound="Several")


def check_modes(attack: Attack, *parts: Attack) -> None:
    """Raise ConfigError where an attack inside another asks for a mode of the network that it will not run in."""
    for part in parts:
        if part.bn_mode not in ("eval", attack.bn_mode):
            raise ConfigError(
                f"bn_mode={part.bn_mode!r} of {part.name} inside {attack.name} would do nothing: give it to "
                f"{type(attack).__name__}, which puts the network into its mode once"
            )


class Several(Attack):
    """Base of attacks that run several others within one threat model; all share the seed.

    Args:
        threat: threat model of all attacks.
        attacks: configs of the attacks, without a threat model or seed of their own.
    """

    works_under = (ThreatModel,)  # the attacks decide

    def __init__(self, threat: Any, attacks: Sequence[dict[str, Any] | Attack], **kwargs: Any) -> None:
        super().__init__(threat, **kwargs)
        name = type(self).__name__
        self.attacks = [build_attack(attack, threat=self.threat) for attack in attacks]
        if not self.attacks:
            raise ConfigError(f"{name} needs at least one attack")
        check_modes(self, *self.attacks)
        if any(attack.threat != self.threat for attack in self.attacks):
            raise ConfigError(f"the attacks of {name} share its threat model: leave out theirs")
        sizes = {attack.block_size for attack in self.attacks if attack.block_size is not None}
        if len(sizes) > 1:
            raise ConfigError(f"the attacks of {name} share their blocks of images; got block_size {sorted(sizes)}")
        self.block_size = next(iter(sizes), None)

    @property
    def parts(self) -> list[Attack | Objective]:
        """What is asked and told beside the attack itself."""
        return [*self.attacks]

    @property
    def takes_start(self) -> bool:
        """Where all attacks do."""
        return all(attack.takes_start for attack in self.attacks)

    def default_name(self) -> str:
        """The class's."""
        return type(self).__name__

    def check(self, task: Task) -> None:
        """See :meth:`Attack.check`; asks all parts."""
        for part in self.parts:
            part.check(task)

    def shortfalls(self) -> list[str]:
        """See :meth:`Attack.shortfalls`: those of the attacks inside."""
        return [note for attack in self.attacks for note in attack.shortfalls()]

    def scaled(self: Own, factor: float) -> Own:
        """See :meth:`Attack.scaled`."""
        attack = copy.copy(self)
        attack.threat, attack.attacks = self.threat.scaled(factor), [one.scaled(factor) for one in self.attacks]
        return attack

    def describe(self) -> dict[str, Any]:
        """See :meth:`Attack.describe`."""
        inner = "; ".join(attack.describe_inner() for attack in self.attacks)
        return {**super().describe(), "attacks": inner}

    def observe(self, dataset: Any, predictions: Any) -> list[str]:
        """See :meth:`Attack.observe`; passed on to all parts."""
        notes = [note for part in self.parts for note in part.observe(dataset, predictions)]
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
