"""PGD that stops soon after an image is misclassified (Friendly adversarial training, Zhang et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from natx.attacks.base import Attack, Attacked, Success
from natx.attacks.pgd import PGD
from natx.attacks.victim import Victim
from natx.errors import ConfigError, UnsupportedError
from natx.registry import ATTACKS
from natx.runtime.rng import normal
from natx.runtime.schedule import Schedule
from natx.task import Task

# Streams of the noise after each step, apart from those of random starts and restarts.
NOISE = 1000


@ATTACKS.register_module()
class FriendlyPGD(PGD):
    """Early-stopped PGD: an image takes ``tau`` more steps once it is misclassified and then stays; for training.

    Each image counts for itself: a step taken while it is misclassified uses one of its ``tau``, and the first time it
    is misclassified with none left it is finished. Images that are never finished take all steps, which is what
    :meth:`cost_per_image` counts: the most that can be spent. With ``tau`` of ``steps`` or more and ``omega=0`` this is
    :class:`~natx.attacks.PGD`, bit for bit.

    Sources: Zhang et al. 2020, Algorithm 1; ``earlystop.py`` and ``FAT.py`` of zjfheart/Friendly-Adversarial-Training.
    Deviations: images keep their order (the original returns the finished ones first, with permuted labels); noise
    depends on (seed, epoch, image index, step) only.

    Args:
        threat: threat model.
        steps: largest number of gradient steps K.
        tau: steps after the first misclassification, a whole number or a schedule by epoch
            (:class:`~natx.runtime.schedule.Schedule`).
        omega: standard deviation, in pixel units of [0,1], of normal noise added at each step before the projection.
        **kwargs: see :class:`~natx.attacks.PGD`; without ``restarts``, ``milestones`` and ``momentum``.

    Raises:
        ConfigError: a setting out of range; or, when it runs, a task whose images are not right or wrong by themselves.
    """

    def __init__(
        self,
        threat: Any,
        steps: int = 10,
        *,
        tau: int | Sequence[tuple[int, int]] = 0,
        omega: float = 0.0,
        **kwargs: Any,
    ) -> None:
        if kwargs.get("restarts", 1) != 1 or kwargs.get("milestones") is not None or kwargs.get("momentum"):
            raise ConfigError("FriendlyPGD has one start and one column: leave out restarts, milestones and momentum")
        if not omega >= 0:
            raise ConfigError(f"omega is a standard deviation >= 0 in pixel units of [0,1]; got {omega}")
        self.tau, self.omega = Schedule(tau, name="tau"), omega
        if any(float(number) % 1 for _, number in self.tau.pairs):
            raise ConfigError(f"tau counts steps, so it is whole; got {tau!r}")
        super().__init__(threat, steps, **kwargs)

    def default_name(self) -> str:
        """``FriendlyPGD-K``."""
        return f"FriendlyPGD-{self.steps}"

    def describe(self) -> dict[str, Any]:
        """See :meth:`Attack.describe`."""
        return {**super().describe(), "tau": str(self.tau)}

    def check(self, task: Task) -> None:
        """See :meth:`Attack.check`; images must be right or wrong by themselves."""
        super().check(task)
        if not task.per_image_success:
            raise UnsupportedError(
                f"FriendlyPGD stops where an image is misclassified, and {type(task).__name__} has no images that are "
                "right or wrong by themselves: use PGD"
            )

    def run_judged(self, victim: Victim, *, success: Success) -> Attacked:
        """Looks at the result only: an image that is right again after a step past its first mistake is not broken."""
        return Attack.run_judged(self, victim, success=success)

    def ascend(self, victim: Victim, *, epoch: int, restart: int) -> Tensor:
        """See :meth:`PGD.ascend`; each image's own last iterate."""
        current, step = self.start(victim, epoch=epoch, restart=restart), self.step()
        x_adv, active = current.clone(), torch.arange(len(victim), device=current.device)
        spare = torch.full((len(victim),), int(self.tau(epoch)), device=current.device)  # [N], steps after a mistake
        for k in range(self.steps):
            grad, output, scores = victim.gradient(current, self.objective)
            wrong = victim.wrong(output)
            finished = wrong & (spare == 0)
            spare = spare - (wrong & ~finished).to(spare.dtype)
            stay = (~finished).nonzero().squeeze(1)  # the host has to know how many go on
            if len(stay) < len(active):
                x_adv[active] = current
                active, current, spare = active[stay], current[stay], spare[stay]
                grad, scores = grad[stay], scores[stay]
                if len(stay) == 0:
                    return x_adv
                victim = victim.select(stay)
            current = step(victim.ball, self._noisy(victim, current, epoch=epoch, step=k), grad, scores)
        x_adv[active] = current
        return x_adv

    def _noisy(self, victim: Victim, current: Tensor, *, epoch: int, step: int) -> Tensor:
        """The images with noise, which the step that follows projects."""
        if self.omega == 0:
            return current
        noise = victim.noise(self.seed, epoch=epoch, stream=NOISE + step, draw=normal)
        return current + self.omega * noise.to(current.dtype)
