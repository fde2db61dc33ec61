"""Adversarial copies from disk as an attack: offline adversarial training."""

from __future__ import annotations

from torch import Tensor

from natx.attacks.base import Attack
from natx.attacks.victim import Victim
from natx.batch import COPIES
from natx.errors import ConfigError
from natx.expect import expect
from natx.registry import ATTACKS
from natx.threat import TOLERANCE, ThreatModel, pixel_fraction


@ATTACKS.register_module()
class Copies(Attack):
    """The images' stored adversarial copies (``data.copies`` of the config), augmented as the images are.

    Costs nothing per step, and does not follow the model in training: the copies were made for another one.
    """

    works_under = (ThreatModel,)
    information = "other models"

    def cost_per_image(self) -> tuple[float, float]:
        """No forward and no backward."""
        return (0, 0)

    def run(self, victim: Victim, *, epoch: int = 0) -> Tensor:
        """The copies' pixels.

        Raises:
            ConfigError: the batch has none, or they were made within a larger ball.
        """
        if COPIES not in victim.batch:
            raise ConfigError("the batch has no adversarial copies: add data.copies=dict(source=..., attack=...)")
        copies = victim.task.pixels({**victim.batch, "inputs": victim.batch[COPIES]})
        furthest = victim.ball.distance(copies).max()
        expect(furthest <= self.threat.radius + TOLERANCE, self._too_far, furthest)
        return copies

    def _too_far(self, distance: float) -> ConfigError:
        return ConfigError(
            f"the copies are up to {pixel_fraction(distance)} from their images, the method's threat model is "
            f"{self.threat}: give data.copies.attack and the method's Copies the same threat"
        )
