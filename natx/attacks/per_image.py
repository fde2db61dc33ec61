"""PGD whose strength is each image's own and comes with the batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from natx.attacks.base import Attack
from natx.attacks.victim import Victim
from natx.errors import ConfigError, ConstraintError
from natx.expect import expect
from natx.objectives import Objective, build_objective
from natx.registry import ATTACKS
from natx.task import Task
from natx.threat import TOLERANCE, Ball, Linf, pixel_fraction

# Entries of a batch, one number an image: radius and step size in pixel units of [0,1], number of steps.
EPS, STEP_SIZE, STEPS = "attack_eps", "attack_step_size", "attack_steps"


@ATTACKS.register_module()
class PerImagePGD(Attack):
    """Linf PGD in which each image has its own eps, step size and number of steps, read from the batch.

    The attack's threat model is the largest ball that any image may be given; beyond what every attack is checked for,
    each image is checked against its own radius. Images leave the batch with their last step. Where all images are
    given the threat model's eps and the same steps, this is :class:`~natx.attacks.PGD`, bit for bit.

    Source: the generator of adversarial examples of LAS-AT (Jia et al. 2022; ``LAS_AT_train_cifar10.py`` of
    jiaxiaojunQAQ/LAS-AT). As there, all images start from noise of the same size ``start_eps``, and the first step
    brings it into their own balls. Deviation: an image that has done its steps costs nothing more; the original sends
    the whole batch forward and backward until the last image is done.

    Args:
        threat: Linf, with the largest eps that a batch may ask for.
        most_steps: largest number of steps that a batch may ask for; what :meth:`cost_per_image` counts.
        start_eps: the start is uniform within this distance of the image, in pixel units of [0,1].
        objective: config of what to climb; cross-entropy by default.

    Raises:
        ConfigError: another norm, or, when it runs, a batch without settings or with some outside the limits.
    """

    def __init__(
        self,
        threat: Any,
        most_steps: int,
        *,
        start_eps: float = 8 / 255,
        objective: Objective | dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(threat, **kwargs)
        if not isinstance(self.threat, Linf):
            raise ConfigError(f"PerImagePGD works in Linf balls; got {self.threat}")
        if most_steps < 1 or not 0 <= start_eps <= 1:
            raise ConfigError(
                f"PerImagePGD needs most_steps >= 1 and 0 <= start_eps <= 1 (pixels in [0,1]); got {most_steps} and "
                f"{start_eps}"
            )
        self.most_steps, self.start_eps = most_steps, start_eps
        self.objective = build_objective(objective)
        if self.objective.needs_random_start and start_eps == 0:
            raise ConfigError(f"{type(self.objective).__name__} has no gradient at the clean image: use start_eps > 0")

    def shortfalls(self) -> list[str]:
        """See :meth:`Attack.shortfalls`: a start that is wider than any image's ball."""
        if self.start_eps <= self.threat.radius:
            return []
        return [
            f"{self.name}: starts lie up to {pixel_fraction(self.start_eps)} from the image, outside {self.threat}, "
            "and the first step brings them back to the rim: give start_eps up to the largest eps"
        ]

    def check(self, task: Task) -> None:
        """See :meth:`Attack.check`; asks the objective."""
        self.objective.check(task)

    def cost_per_image(self) -> tuple[float, float]:
        """That of the largest number of steps: the most that an image can take."""
        forwards, backwards = self.objective.cost()
        return (self.objective.prepare_forwards + self.most_steps * (1 + forwards), self.most_steps * (1 + backwards))

    def describe(self) -> dict[str, Any]:
        """See :meth:`Attack.describe`."""
        return {**super().describe(), **self.objective.describe()}

    def run(self, victim: Victim, *, epoch: int = 0) -> Tensor:
        """The last iterate of each image."""
        steps, ball = self._steps(victim), victim.ball
        victim.batch = {**victim.batch, **self.objective.prepare(victim.task, victim.batch, x=victim.x)}
        victim.cost.forwards += self.objective.prepare_forwards * len(victim)
        x, noise = ball.x, victim.noise(self.seed, epoch=epoch, stream=0).to(ball.x.dtype)
        radius, size = _per_pixel(victim.batch[EPS], x), _per_pixel(victim.batch[STEP_SIZE], x)
        start = (2 * noise - 1) * self.start_eps
        if ball.mask is not None:
            radius, start = radius * ball.mask.to(x.dtype), start * ball.mask.to(x.dtype)
        current, low, high = (x + start).clamp_(0, 1), (x - radius).clamp_(min=0), (x + radius).clamp_(max=1)
        x_adv, active = x.clone(), torch.arange(len(x), device=x.device)
        for step in range(1, max(steps, default=0) + 1):
            grad, _, _ = victim.gradient(current, self.objective)
            current = torch.addcmul(current, grad.sign(), size).clamp_(low, high)
            if step in steps:
                x_adv[active] = current
                stay = torch.tensor([i for i, last in enumerate(steps) if last > step], device=x.device)
                steps = [last for last in steps if last > step]
                if not steps:
                    break
                active, current, size, low, high = (part[stay] for part in (active, current, size, low, high))
                victim = victim.select(stay)
        self._verify(ball, x_adv, radius=radius)
        return x_adv

    def _steps(self, victim: Victim) -> list[int]:
        """Steps of each image, once all settings in the batch are known to be within the attack's limits."""
        batch, n = victim.batch, len(victim)
        missing = [key for key in (EPS, STEP_SIZE, STEPS) if key not in batch]
        if missing:
            raise ConfigError(f"the batch has no {missing[0]}: PerImagePGD is run by a method that sets it (LAS)")
        counts = [len(batch[key]) for key in (EPS, STEP_SIZE, STEPS)]
        if counts != [n] * 3:
            raise ConfigError(
                f"PerImagePGD takes an eps, a step size and a number of steps for each of {n} images; "
                f"got {counts[0]}, {counts[1]} and {counts[2]}"
            )
        # Read in one go: the host has to know who takes how many steps.
        settings = torch.stack([batch[key].to(batch[EPS].dtype) for key in (EPS, STEP_SIZE, STEPS)])
        eps, size, steps = settings.tolist()
        within = 0 <= min(eps) and max(eps) <= self.threat.radius + TOLERANCE and min(size) >= 0
        if not (within and 1 <= min(steps) <= max(steps) <= self.most_steps):
            raise ConfigError(
                f"PerImagePGD takes, for each of {n} images, an eps up to {self.threat}, a step size >= 0 and 1 to "
                f"{self.most_steps} steps; got eps {min(eps):g}..{max(eps):g}, step sizes from {min(size):g} and "
                f"{min(steps):g}..{max(steps):g} steps"
            )
        return [int(count) for count in steps]

    def _verify(self, ball: Ball, x_adv: Tensor, *, radius: Tensor) -> None:
        """Raise ConstraintError where an image left its own ball."""
        over = ((x_adv - ball.x).abs() - radius).amax()
        expect(over <= TOLERANCE, _left_own_ball, over)


def _left_own_ball(distance: float) -> ConstraintError:
    return ConstraintError(f"PerImagePGD left an image's own ball by {pixel_fraction(distance)}")


def _per_pixel(values: Tensor, x: Tensor) -> Tensor:
    """One number an image, in the shape and precision that pixels ``[N, C, H, W]`` are added to."""
    return values.to(device=x.device, dtype=x.dtype).view(-1, *[1] * (x.dim() - 1))
