"""Eq. 14: the defender's own loss, climbed through both networks."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from natx.batch import Batch
from natx.errors import ConfigError
from natx.models.adversary import build_adversary
from natx.objectives.base import Objective
from natx.objectives.losses import CrossEntropy
from natx.registry import OBJECTIVES
from natx.task import Output, Task
from natx.terms.nasty import nasty_divergence


@OBJECTIVES.register_module()
class Adaptive(Objective):
    """Eq. 14: ``XE(f_t(x'), y) + sign * weight * tau^2 * KL(p_t^tau || p_a^tau)``, both networks at x'.

    ``sign=-1`` is the equation as printed: the attacker climbs the defender's own loss. Gradients flow through both
    networks.

    Args:
        adversary: config of, or an :class:`~natx.models.adversary.Adversary`.
        weight: nasty weight (paper: that of training).
        temperature: tau, the same as in training.
        sign: -1 as printed, +1 for the opposite.
        scale_by_t2: multiply by tau squared, as in training.
    """

    def __init__(
        self,
        adversary: Any,
        weight: float,
        *,
        temperature: float = 4.0,
        sign: int = -1,
        scale_by_t2: bool = True,
    ) -> None:
        if sign not in (-1, 1):
            raise ConfigError(f"sign is -1 (Eq. 14 as printed) or 1; got {sign}")
        self.adversary = build_adversary(adversary)
        self.weight = sign * weight * (temperature**2 if scale_by_t2 else 1.0)
        self.temperature = temperature
        self.settings = {"weight": weight, "temperature": temperature, "sign": sign, "scale_by_t2": scale_by_t2}
        self.cross_entropy = CrossEntropy()

    def prepare(self, task: Task, batch: Batch, *, x: Tensor) -> Batch:
        """Moves the adversary to the images' device and checks that it fits the task."""
        self.adversary.to(x.device)
        self.adversary.check(task)
        return {}

    def __call__(self, output: Output, batch: Batch, *, x: Tensor) -> Tensor:
        """See :meth:`Objective.__call__`."""
        other = self.adversary.logits(batch, x, rows=output.rows, differentiable=True)
        rows = nasty_divergence(output.logits, other, temperature=self.temperature, link=output.link)
        return self.cross_entropy(output, batch, x=x) + self.weight * output.per_image(rows)

    def describe(self) -> dict[str, Any]:
        """See :meth:`Objective.describe`; adds the adversary's weights and the numbers of Eq. 14."""
        return {**super().describe(), "adversary": self.adversary.origin, **self.settings}

    def cost(self) -> tuple[int, int]:
        """One forward and backward through each member of the adversary."""
        return (len(self.adversary), len(self.adversary))
