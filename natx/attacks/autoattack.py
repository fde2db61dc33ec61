"""Standard AutoAttack (Croce & Hein 2020) through pyautoattack; nothing less carries this name."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from natx.attacks.base import Attack, Attacked, Success
from natx.attacks.pyaa import VERSION, refuse_unsupported, run_members
from natx.attacks.victim import Victim
from natx.errors import ConfigError
from natx.registry import ATTACKS
from natx.task import Task
from natx.threat import ThreatModel


class LibraryAttack(Attack):
    """An attack run by pyautoattack on fixed blocks of images.

    The library seeds once per call, so its result depends on which images share a call. Evaluation therefore hands it
    blocks of ``block_size`` images in index order: the block is the unit of seeding and sharding.

    Args:
        threat: Linf or L2.
        block_size: images per call.
    """

    works_under = (ThreatModel,)  # the library says what it cannot do, when it meets the task
    members: list[str] | None = None
    options: dict[str, int] = {}  # noqa: RUF012 - read only

    def __init__(self, threat: Any, *, block_size: int = 250, **kwargs: Any) -> None:
        if block_size < 1:
            raise ConfigError(f"block_size must be at least 1; got {block_size}")
        super().__init__(threat, **kwargs)
        self.block_size: int = block_size

    def check(self, task: Task) -> None:
        """See :func:`natx.attacks.pyaa.refuse_unsupported`."""
        refuse_unsupported(task, self.threat, self.members)

    def run(self, victim: Victim, *, epoch: int = 0) -> Tensor:
        """Adversarial pixels; an image that does not break stays as it was."""
        return self._run(victim)[0]

    def run_judged(self, victim: Victim, *, success: Success) -> Attacked:
        """See :meth:`Attack.run_judged`; adds the library's flags to the notes."""
        x_adv, notes = self._run(victim)
        with torch.no_grad():
            return Attacked(x_adv, {self.name: victim.wrong(victim.output(x_adv))}, notes=notes)

    def describe(self) -> dict[str, Any]:
        """See :meth:`Attack.describe`; adds the library's version."""
        return {**super().describe(), "library": VERSION}

    def _run(self, victim: Victim) -> tuple[Tensor, list[str]]:
        return run_members(victim, self.members, seed=self.seed, batch_size=self.block_size, **self.options)


@ATTACKS.register_module()
class AutoAttack(LibraryAttack):
    """AutoAttack, version 'standard': APGD-CE, APGD-T, FAB-T, Square, each on what the others left.

    Other versions are refused: a weaker ensemble must not carry the name.
    """

    information = "everything"  # Square is among its members

    def __init__(self, threat: Any, *, version: str = "standard", **kwargs: Any) -> None:
        if version != "standard":
            raise ConfigError(f"only AutoAttack's standard version carries the name; got version={version!r}")
        super().__init__(threat, **kwargs)
        self.version = version

    def default_name(self) -> str:
        """``AA``."""
        return "AA"
