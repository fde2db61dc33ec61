"""One of several attacks for each image."""

from __future__ import annotations

from torch import Tensor

from natx.attacks.base import total_cost
from natx.attacks.several import Several
from natx.attacks.victim import Victim
from natx.registry import ATTACKS
from natx.runtime.rng import uniform

STREAM = 0x10F  # tells these draws from those of random starts


@ATTACKS.register_module()
class OneOf(Several):
    """Attacks each image with one of several attacks, drawn with equal probability from (seed, epoch, image).

    A batch for adversarial training then has images of all kinds, where :class:`~natx.attacks.WorstOf` has those of
    whichever attack wins. Training a detector on images of several attacks with different objectives, spatial and
    semantic, was the strongest of the strategies that Winter et al. compare ("Benchmarking Adversarial Robustness and
    Adversarial Training Strategies for Object Detection", 2026, arXiv:2602.16494).

    Deviation: there a fixed set of images is attacked before training, here every batch is on the current weights, and
    an image meets another attack in another epoch.

    Args:
        threat: threat model of all attacks.
        attacks: configs of the attacks, without a threat model or seed of their own.
    """

    def cost_per_image(self) -> tuple[float, float] | None:
        """The mean of the attacks' costs."""
        cost = total_cost(self.attacks)
        return None if cost is None else (cost[0] / len(self.attacks), cost[1] / len(self.attacks))

    def run(self, victim: Victim, *, epoch: int = 0) -> Tensor:
        """Each image as its attack leaves it."""
        draws = uniform(victim.batch["index"], (), seed=self.seed, epoch=epoch, stream=STREAM)
        kind = (draws * len(self.attacks)).long().to(victim.x.device)
        x_adv = victim.x.clone()
        for number, attack in enumerate(self.attacks):
            rows = (kind == number).nonzero().squeeze(1)
            if len(rows):
                attack.seed = self.seed  # one seed for all, the one a caller may have set since
                x_adv[rows] = attack.run(victim.select(rows), epoch=epoch).detach()
        return x_adv
