"""Projected gradient ascent on a patch: where in the image it lies, then what is on it."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from natx.attacks.patch import Patch, PatchBall
from natx.attacks.pgd import PGD
from natx.attacks.victim import Victim
from natx.errors import ConfigError
from natx.registry import ATTACKS
from natx.runtime.rng import uniform

STREAM = 0x9A7C  # tells the draws of places from those of pixels
PLACES = "patch_places"  # entry of a batch: row and column of the patch for each restart, int64 [N, restarts, 2]


@ATTACKS.register_module()
class PatchPGD(PGD):
    """PGD on the pixels of one rectangle, which may become anything in [0,1].

    Steps are those of PGD under Linf, inside the rectangle. Where it lies is the attacker's choice, unless the threat
    model names a corner:

    - 'random': anywhere in the image, drawn from (seed, epoch, image index), anew for each restart (AP-Rand of Rao et
      al. 2020, "Adversarial Training against Location-Optimized Adversarial Patches", without its moves).
    - 'grid': a grey rectangle is laid on ``grid`` x ``grid`` evenly spaced places, from border to border, and the one
      where the objective is highest is attacked; further restarts take the next best. This is the exhaustive search of
      the Rectangular Occlusion Attack (Wu et al. 2020, "Defending Against Physically Realizable Attacks on Image
      Classification"; ``roa.py`` of their phattacks), with places counted instead of a stride.

    Defaults are natx's own: what is published differs in step and length, and they reach from black to white.

    Args:
        threat: a :class:`~natx.attacks.patch.Patch`.
        steps: gradient steps of a restart.
        step_size: step in pixel units of [0,1].
        place: 'random' or 'grid'; None is 'random', or the threat model's corner.
        grid: places on a side of the grid, at least 2.

    Raises:
        ConfigError: another threat model, another ``place``, or a place beside the threat model's corner.
    """

    works_under = (Patch,)

    def __init__(
        self,
        threat: Any,
        steps: int = 50,
        *,
        step_size: float | None = 8 / 255,
        place: Literal["random", "grid"] | None = None,
        grid: int = 5,
        **kwargs: Any,
    ) -> None:
        super().__init__(threat, steps, step_size=step_size, **kwargs)
        fixed = isinstance(self.threat, Patch) and self.threat.corner is not None
        if place not in (None, "random", "grid") or (fixed and place is not None):
            raise ConfigError(f"place is 'random' or 'grid', and none for a patch with a corner; got {place!r}")
        if type(grid) is not int or grid < 2:
            raise ConfigError(f"grid is how many places a side has, at least 2; got {grid}")
        self.place = None if fixed else place or "random"
        self.grid = grid if self.place == "grid" else None  # None: no part of the description

    @property
    def takes_start(self) -> bool:
        """No: pixels to start from may lie at another place."""
        return False

    def default_name(self) -> str:
        """``Patch`` where milestones add the step counts, else ``Patch-K``."""
        return "Patch" if self.milestones else f"Patch-{self.steps}"

    def cost_per_image(self) -> tuple[float, float]:
        """PGD's, and a forward for each place of the grid."""
        forwards, backwards = super().cost_per_image()
        return forwards + (self.grid or 0) ** 2 * (1 + self.objective.cost()[0]), backwards

    def prepare(self, victim: Victim) -> None:
        """See :meth:`PGD.prepare`; the grid is searched once, for all restarts."""
        super().prepare(victim)
        if self.grid is not None:
            victim.batch = {**victim.batch, PLACES: self._search(victim, self.grid)}

    def placed(self, victim: Victim, *, epoch: int, restart: int) -> Victim:
        """See :meth:`PGD.placed`."""
        ball = victim.ball
        assert isinstance(ball, PatchBall)  # the threat model is a patch
        if self.place is None:
            return victim
        if self.place == "grid":
            return victim.alike(ball=ball.at(victim.batch[PLACES][:, restart]))
        index = victim.batch["index"].to(victim.x.device)
        draws = uniform(index, (2,), seed=self.seed, epoch=epoch, stream=STREAM + restart)
        return victim.alike(ball=ball.at_random(draws))

    def _search(self, victim: Victim, grid: int) -> Tensor:
        """The best places of the grid, one for each restart, ``[N, restarts, 2]``; in turn where there are fewer."""
        ball = victim.ball
        assert isinstance(ball, PatchBall)
        shares = torch.linspace(0, 1, grid, device=victim.x.device)
        places = torch.cartesian_prod(shares, shares)[None] * (ball.room - 1)[:, None]  # [N, grid * grid, 2]
        corners = places.round().long()
        scores = torch.stack(
            [victim.scored(ball.at(corner).covered(), self.objective)[1] for corner in corners.unbind(1)], 1
        )
        best = scores.argsort(dim=1, descending=True, stable=True)
        order = best[:, torch.arange(self.restarts, device=best.device) % best.shape[1]]
        return corners.gather(1, order[..., None].expand(-1, -1, 2))
