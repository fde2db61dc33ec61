"""Single-step attacks for training: noise, one signed gradient step, and a projection where it is asked for."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from natx.attacks.base import Attack, random_point
from natx.attacks.victim import Victim
from natx.errors import ConfigError
from natx.objectives import Objective, build_objective
from natx.registry import ATTACKS
from natx.task import Task
from natx.threat import Linf, ThreatModel


@ATTACKS.register_module()
class SingleStep(Attack):
    """``x + eta + step * eps * sign(gradient at x + eta)``, ``eta`` uniform within ``noise * eps``.

    ``eta`` is clipped so that ``x + eta`` stays in [0,1], as the result is. The settings of the papers:

    - FGSM-RS (Wong et al. 2020, "Fast is better than free", ``train_fgsm.py`` of locuslab/fast_adversarial):
      ``noise=1, step=1.25, clip=True``, the defaults.
    - N-FGSM (de Jorge et al. 2022, "Make Some Noise", ``train.py`` of pdejorge/N-FGSM): ``noise=2, step=1,
      clip=False``. Its images may lie ``noise + step`` times eps away: :attr:`reach` says so, is what the result is
      verified against, and keeps the attack out of evaluations, which judge within the threat model alone.
    - FGSM as training (Goodfellow et al. 2015): ``noise=0, step=1``.

    Deviations: the gradient is taken in eval mode where ``bn_mode='train'`` does not ask for the originals' train mode;
    noise depends on (seed, epoch, image index) only.

    Args:
        threat: Linf, the threat model that is trained for.
        noise: radius of the noise in units of eps, 0 for none.
        step: length of the step in units of eps.
        clip: whether the result is projected into the threat model.
        objective: config of what to climb; cross-entropy by default.

    Raises:
        ConfigError: another norm, a setting out of range, or an objective that needs noise where there is none.
    """

    def __init__(
        self,
        threat: Any,
        noise: float = 1.0,
        step: float = 1.25,
        *,
        clip: bool = True,
        objective: Objective | dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self.noise, self.step, self.clip = float(noise), float(step), clip
        super().__init__(threat, **kwargs)
        if not isinstance(self.threat, Linf):
            raise ConfigError(f"SingleStep works in Linf balls; got {self.threat}: use PGD with steps=1")
        if not (math.isfinite(noise) and noise >= 0 and math.isfinite(step) and step > 0):
            raise ConfigError(f"SingleStep needs noise >= 0 and step > 0, in units of eps; got {noise} and {step}")
        self.objective = build_objective(objective)
        if self.objective.needs_random_start and noise == 0:
            raise ConfigError(f"{type(self.objective).__name__} has no gradient at the clean image: use noise > 0")

    @property
    def single_step(self) -> bool:
        """See :attr:`Attack.single_step`; yes."""
        return True

    @property
    def reach(self) -> ThreatModel:
        """See :attr:`Attack.reach`."""
        return self.threat if self.clip else self._wider(max(1.0, self.noise + self.step))

    def _wider(self, factor: float) -> ThreatModel:
        """The threat model with ``factor`` times its eps; no pixel moves by more than 1."""
        return self.threat.scaled(min(factor, 1 / self.threat.radius) if self.threat.radius else 1.0)

    def default_name(self) -> str:
        """``FGSM-RS``, ``N-FGSM`` or ``FGSM``, whichever the settings are nearest to."""
        return "N-FGSM" if not self.clip else "FGSM-RS" if self.noise else "FGSM"

    def check(self, task: Task) -> None:
        """See :meth:`Attack.check`; asks the objective."""
        self.objective.check(task)

    def cost_per_image(self) -> tuple[float, float]:
        """One forward and one backward, with the objective's own."""
        forwards, backwards = self.objective.cost()
        return (self.objective.prepare_forwards + 1 + forwards, 1 + backwards)

    def scaled(self, factor: float) -> SingleStep:
        """See :meth:`Attack.scaled`; noise and step are in units of eps and grow with it."""
        return SingleStep(
            self.threat.scaled(factor),
            self.noise,
            self.step,
            clip=self.clip,
            objective=self.objective,
            name=self.name,
            seed=self.seed,
            bn_mode=self.bn_mode,
        )

    def describe(self) -> dict[str, Any]:
        """See :meth:`Attack.describe`."""
        return {**super().describe(), **self.objective.describe()}

    def run(self, victim: Victim, *, epoch: int = 0) -> Tensor:
        """The images after the step."""
        victim.batch = {**victim.batch, **self.objective.prepare(victim.task, victim.batch, x=victim.x)}
        victim.cost.forwards += self.objective.prepare_forwards * len(victim)
        x, mask, eps = victim.x, victim.ball.mask, self.threat.radius
        start = x.clone()
        if self.noise:
            ball = self._wider(self.noise).around(x, mask)
            start = random_point(ball, victim.batch["index"], seed=self.seed, epoch=epoch, stream=0)
        grad, _, _ = victim.gradient(start, self.objective)
        ball = self.reach.around(x, mask)
        return ball.project(start + self.step * eps * ball.steepest(grad))
