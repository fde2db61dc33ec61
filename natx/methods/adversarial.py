"""Adversarial training: PGD-AT on adversarial images or on the union, and NAT with the nasty term."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from natx.attacks import Attack, Universal, build_attack, counted
from natx.batch import Batch
from natx.errors import ConfigError
from natx.methods.base import Method, whole_epochs
from natx.registry import METHODS
from natx.task import Task


def _with_parts(attack: Attack) -> Iterator[Attack]:
    """An attack and those that it runs, at any depth."""
    yield attack
    for value in vars(attack).values():
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, Attack):
                yield from _with_parts(part)


@METHODS.register_module()
class Adversarial(Method):
    """Eq. 4 (``views=('adv',)``, Madry's PGD-AT) and Eq. 5 (``views=('clean', 'adv')`` with NastyKL: NAT).

    The inner attack climbs its own objective (cross-entropy, without the nasty term: Eq. 5's constraint) on the model
    in eval mode; with a nasty weight of 0, NAT is adversarial training on the union exactly.

    Args:
        attack: config of the inner attack.
        views: ('adv',) or ('clean', 'adv').
        terms: see :class:`~natx.methods.base.Method`.
        joint_batch: see :class:`~natx.methods.base.Method`.
        eps_warmup: epochs in which the inner attack grows: in epoch e of them (from 0) its eps and step size are
            ``(e + 1) / (eps_warmup + 1)`` of its own. 0 for none.
    """

    def __init__(
        self,
        attack: dict[str, Any] | Attack,
        views: Sequence[str] = ("adv",),
        *,
        terms: Sequence[dict[str, Any]] | None = None,
        joint_batch: bool = True,
        eps_warmup: int = 0,
    ) -> None:
        if tuple(views) not in (("adv",), ("clean", "adv")):
            raise ConfigError(f"views is ('adv',) or ('clean', 'adv'); got {tuple(views)}")
        super().__init__(terms, joint_batch=joint_batch)
        self.views = tuple(views)
        self.attack = build_attack(attack)
        if fitted := next((part for part in _with_parts(self.attack) if isinstance(part, Universal)), None):
            raise ConfigError(
                f"{fitted.name} fits its perturbation once, which in training is to the first weights: it is for "
                "judging; train with PGD"
            )
        self.eps_warmup = whole_epochs(eps_warmup, "eps_warmup")
        if eps_warmup:
            self.attack.scaled(1.0)  # refuses an attack that cannot be scaled now, not in the first epoch

    def attack_in(self, epoch: int) -> Attack:
        """The inner attack of an epoch: a smaller one in the warm-up."""
        if epoch >= self.eps_warmup:
            return self.attack
        return self.attack.scaled((epoch + 1) / (self.eps_warmup + 1))

    def make_views(self, task: Task, batch: Batch, *, epoch: int) -> list[Tensor]:
        """Clean pixels (if asked for) and the attack's."""
        x, attack = task.pixels(batch), self.attack_in(epoch)
        x_adv = attack(task, batch, epoch=epoch)
        self.tally = attack.tally
        return [x, x_adv] if "clean" in self.views else [x_adv]

    @property
    def single_step(self) -> bool:
        """See :attr:`Method.single_step`."""
        return self.attack.single_step

    def prepare(self, task: Task, device: torch.device) -> None:
        """See :meth:`Method.prepare`; an attack that cannot attack the task is refused."""
        super().prepare(task, device)
        self.attack.check(task)

    def notes(self) -> list[str]:
        """See :meth:`Method.notes`: what the attack cannot reach."""
        return self.attack.shortfalls()

    def cost(self) -> tuple[float, float]:
        """See :meth:`Method.cost`; adds the inner attack."""
        forwards, backwards = super().cost()
        attack = counted(self.attack)
        return (forwards + attack[0], backwards + attack[1])
