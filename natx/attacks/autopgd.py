"""Auto-PGD on any objective, image by image."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from natx.attacks.base import Attack, Attacked, Success, Victim
from natx.attacks.pgd import PGD
from natx.attacks.steps import AutoStep
from natx.errors import ConfigError
from natx.objectives import Objective
from natx.registry import ATTACKS
from natx.threat import L2, Linf


@ATTACKS.register_module()
class AutoPGD(PGD):
    """Auto-PGD (Croce & Hein 2020, Algorithm 1) that climbs any objective with one score an image.

    :class:`~natx.attacks.APGD` is the authors' code, for cross-entropy and (targeted) DLR. This one follows the paper's
    text for all objectives, with natx's random starts, so that an image is attacked the same in any batch; broken
    images leave the batch. Deviations: random starts are uniform in the ball (the authors' code starts on its rim), and
    rises are counted from the point gone back to.

    Without a label to judge by, and under success='last', the highest-scoring point counts.

    Args:
        threat: Linf or L2.
        steps: iterations.
        objective: config of what to climb; cross-entropy by default.
        **kwargs: ``random_start``, ``restarts`` and those of :class:`~natx.attacks.base.Attack`.

    Raises:
        ConfigError: another norm, an objective that is no score of each image, or a setting that Auto-PGD decides.
    """

    def __init__(
        self, threat: Any, steps: int = 100, *, objective: Objective | dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        decided = {"step_size", "momentum", "milestones"} & set(kwargs)
        if decided:
            raise ConfigError(f"AutoPGD decides on its steps by itself; for {', '.join(sorted(decided))} use PGD")
        super().__init__(threat, steps, objective=objective, **kwargs)
        if not isinstance(self.threat, (Linf, L2)):
            raise ConfigError(f"AutoPGD works under Linf and L2; got {self.threat}")
        if not self.objective.per_image:
            raise ConfigError(
                f"AutoPGD sets each image's step by its score; {type(self.objective).__name__} is no per-image score"
            )
        self.step_size = 2 * self.threat.eps

    def default_name(self) -> str:
        """``AutoPGD-K``."""
        return f"AutoPGD-{self.steps}"

    def cost_per_image(self) -> tuple[float, float]:
        """That of PGD, and a forward a restart to score the last point."""
        forwards, backwards = super().cost_per_image()
        return (forwards + self.restarts * (1 + self.objective.cost()[0]), backwards)

    def run_judged(self, victim: Victim, *, success: Success) -> Attacked:
        """As :class:`~natx.attacks.PGD` under 'any'; under 'last' the best point is looked at."""
        if success == "any":
            return super().run_judged(victim, success=success)
        return Attack.run_judged(self, victim, success=success)

    def _step(self) -> AutoStep:
        return AutoStep(self.step_size, steps=self.steps)

    def _ascend(self, victim: Victim, *, epoch: int, restart: int) -> Tensor:
        x_adv, move = self._start(victim, epoch=epoch, restart=restart), self._step()
        for _ in range(self.steps):
            grad, _, scores = victim.gradient(x_adv, self.objective)
            x_adv = move(victim.ball, x_adv, grad, scores)
        with torch.no_grad():
            scores = self.objective(victim.output(x_adv), victim.batch, x=x_adv)
        victim.cost.forwards += self.objective.cost()[0] * len(victim)
        move.keep_best(x_adv, scores)
        return move.best
