"""Threat models: what an attack may do to an image, in pixel space [0,1].

A :class:`ThreatModel` is an immutable setting (a norm and its eps, the size of a patch). ``threat.around(x)`` binds it
to images and gives a :class:`Ball`, which starts, steps, projects and verifies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from natx.errors import ConfigError, ConstraintError
from natx.expect import expect, together
from natx.registry import THREATS

# Slack in float32 for `x + eps - x`; a real violation is larger by orders of magnitude.
TOLERANCE = 1e-5


def pixel_fraction(value: float) -> str:
    """A pixel distance as a fraction of 255: ``8/255``, ``7.65/255``; plain where it is above 1."""
    if value > 1:
        return f"{value:g}"
    return f"{value * 255:.4g}/255"


class ThreatModel:
    """What an attack may do to an image; immutable, equal where all settings are.

    Attributes:
        kind: the sort of set that it allows. Figures under one kind say nothing of another, so no report mixes them.
        norm: name of what its sets are bounded in.
        attack: the attack that climbs any objective under it, by its registered name.
    """

    kind: ClassVar[str]
    norm: ClassVar[str]
    attack: ClassVar[str]

    def __str__(self) -> str:
        """As reports print it."""
        raise NotImplementedError

    @property
    def radius(self) -> float:
        """How far steps must be able to carry an image, in the norm in which they are measured (pixels of [0,1])."""
        raise NotImplementedError

    def scaled(self, factor: float) -> ThreatModel:
        """The same with ``factor`` times the radius; raises ConfigError where there is none to scale."""
        raise NotImplementedError

    def around(self, x: Tensor, mask: Tensor | None = None) -> Ball:
        """The set of allowed images around ``x`` ``[N, C, H, W]``; pixels where ``mask`` is 0 stay unchanged."""
        raise NotImplementedError


@dataclass(frozen=True)
class NormBall(ThreatModel):
    """A norm ball of radius ``eps`` (pixel space, [0,1]) around each image, intersected with [0,1].

    Raises:
        ConfigError: eps is negative, not finite, or (Linf) above 1.
    """

    eps: float
    kind = "norm ball"
    norm = "Lp"
    attack = "PGD"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.eps) and self.eps >= 0):
            raise ConfigError(f"eps must be a finite number >= 0 in pixel units of [0,1]; got {self.eps}")

    def __str__(self) -> str:
        return f"{self.norm} {pixel_fraction(self.eps)}"

    @property
    def radius(self) -> float:
        """See :attr:`ThreatModel.radius`: eps."""
        return self.eps

    def scaled(self, factor: float) -> NormBall:
        """See :meth:`ThreatModel.scaled`."""
        return replace(self, eps=self.eps * factor)


@THREATS.register_module()
@dataclass(frozen=True)
class Linf(NormBall):
    """Every pixel moves by at most eps."""

    norm = "Linf"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.eps > 1:
            raise ConfigError(
                f"eps={self.eps:g} is outside [0,1]: eps is in pixel units of [0,1], write eps={self.eps:g}/255"
            )

    def around(self, x: Tensor, mask: Tensor | None = None) -> LinfBall:
        """See :meth:`ThreatModel.around`."""
        return LinfBall(self, x, mask)


@THREATS.register_module()
@dataclass(frozen=True)
class L2(NormBall):
    """The Euclidean length of an image's perturbation is at most eps (may exceed 1)."""

    norm = "L2"

    def around(self, x: Tensor, mask: Tensor | None = None) -> L2Ball:
        """See :meth:`ThreatModel.around`."""
        return L2Ball(self, x, mask)


class Ball:
    """A threat model bound to images ``x`` ``[N, C, H, W]``: for each image all that may become of it."""

    def __init__(self, threat: ThreatModel, x: Tensor, mask: Tensor | None = None) -> None:
        self.threat, self.x, self.mask = threat, x, mask

    def select(self, rows: Tensor) -> Ball:
        """The same around the images at positions ``rows`` only."""
        return self.threat.around(self.x[rows], None if self.mask is None else self.mask[rows])

    def start(self, noise: Tensor, radius: Tensor) -> Tensor:
        """A random start from uniform draws in [0,1): one for every pixel (same shape as x), and one an image ``[N]``.

        Numbers of the first kind have at most 24 bits, as :func:`natx.runtime.rng.uniform` draws them.
        """
        raise NotImplementedError

    def steepest(self, grad: Tensor) -> Tensor:
        """The direction of length 1 in the norm along which a score with gradient ``grad`` rises the most."""
        raise NotImplementedError

    def project(self, x_adv: Tensor) -> Tensor:
        """The nearest allowed image (exact for Linf; L2 then [0,1] for L2, which stays in both sets)."""
        raise NotImplementedError

    def distance(self, x_adv: Tensor) -> Tensor:
        """Length of each image's perturbation ``[N]``, in the norm of :attr:`ThreatModel.radius`."""
        raise NotImplementedError

    def expect_inside(self, x_adv: Tensor) -> None:
        """Expect (:mod:`natx.expect`) that the threat model allows ``x_adv``; [0,1] and the mask aside."""
        raise NotImplementedError

    def verify(self, x_adv: Tensor) -> None:
        """Raise ConstraintError where ``x_adv`` leaves the threat model, [0,1] or the mask, or is not finite."""
        if x_adv.shape != self.x.shape:
            raise ConstraintError(f"attack changed the shape from {tuple(self.x.shape)} to {tuple(x_adv.shape)}")
        if x_adv.numel() == 0:
            return
        low, high = x_adv.aminmax()
        with together():
            expect(torch.isfinite(low) & torch.isfinite(high), _not_finite)
            expect((low >= 0) & (high <= 1), _left_range, low, high)
            self.expect_inside(x_adv)
            if self.mask is not None:
                expect(((x_adv == self.x) | (self.mask != 0)).all(), _left_mask)

    def _masked(self, delta: Tensor) -> Tensor:
        return delta if self.mask is None else delta * self.mask.to(delta.dtype)


class _EpsBall(Ball):
    """A ball in a norm."""

    threat: NormBall

    def __init__(self, threat: NormBall, x: Tensor, mask: Tensor | None = None) -> None:
        super().__init__(threat, x, mask)

    def expect_inside(self, x_adv: Tensor) -> None:
        """See :meth:`Ball.expect_inside`."""
        worst = self.distance(x_adv).max()
        expect(worst <= self.threat.eps + TOLERANCE, partial(_left_ball, self.threat), worst)


class LinfBall(_EpsBall):
    """Linf ball as a box; its bounds are computed anew in each step, since two more images each cost an attack more
    memory than they save time."""

    def __init__(self, threat: NormBall, x: Tensor, mask: Tensor | None = None) -> None:
        super().__init__(threat, x, mask)
        self.radius = threat.eps if mask is None else threat.eps * mask.to(x.dtype)

    def start(self, noise: Tensor, radius: Tensor) -> Tensor:
        """Uniform in the box ``x + U(-eps, eps)``, clipped; an image's own draw is not used."""
        return self.project(self.x + (2 * noise.to(self.x.dtype) - 1) * self.threat.eps)

    def steepest(self, grad: Tensor) -> Tensor:
        """``sign(grad)``."""
        return grad.sign()

    def project(self, x_adv: Tensor) -> Tensor:
        """Clip to the box."""
        return x_adv.clamp(max=self.x + self.radius).clamp_(min=self.x - self.radius).clamp_(0, 1)

    def distance(self, x_adv: Tensor) -> Tensor:
        """Largest pixel change of each image ``[N]``."""
        return (x_adv - self.x).abs().flatten(1).amax(1)


class L2Ball(_EpsBall):
    """L2 ball."""

    def start(self, noise: Tensor, radius: Tensor) -> Tensor:
        """In every direction alike, at a distance uniform in [0, eps), as Rice et al. 2020 start (robust_overfitting).

        Points uniform in the ball would all but lie on its rim: in d dimensions their distance is ``eps * u^(1/d)``.
        """
        centred = 2 * noise.to(self.x.dtype) - (1 - 2.0**-24)  # inside (-1, 1), so that no draw is infinite
        direction = self._masked(centred.erfinv())  # normal draws but for their length: no direction is preferred
        return self.project(self.x + self._scaled(direction, radius.to(self.x.dtype)[:, None] * self.threat.eps))

    def steepest(self, grad: Tensor) -> Tensor:
        """``grad / ||grad||_2`` inside the mask; zero where the gradient is."""
        return self._scaled(self._masked(grad), 1.0)

    def project(self, x_adv: Tensor) -> Tensor:
        """Scale back to the ball, then clip to [0,1]: clipping only shortens the perturbation."""
        delta = self._masked(x_adv - self.x)
        norm = delta.flatten(1).norm(dim=1).clamp_min(1e-12)
        factor = (self.threat.eps / norm).clamp(max=1).view(-1, *[1] * (delta.dim() - 1))
        return (self.x + delta * factor).clamp_(0, 1)

    def distance(self, x_adv: Tensor) -> Tensor:
        """Euclidean length of each image's perturbation ``[N]``."""
        return (x_adv - self.x).flatten(1).norm(dim=1)

    @staticmethod
    def _scaled(direction: Tensor, length: Tensor | float) -> Tensor:
        flat = direction.flatten(1)
        return (flat / flat.norm(dim=1, keepdim=True).clamp_min(1e-12) * length).view_as(direction)


def _not_finite() -> ConstraintError:
    return ConstraintError("attack returned pixels that are not finite")


def _left_range(low: float, high: float) -> ConstraintError:
    return ConstraintError(f"attack left [0,1]: pixels in {low:.6f}..{high:.6f}")


def _left_ball(threat: NormBall, distance: float) -> ConstraintError:
    return ConstraintError(f"attack left the ball {threat}: distance {distance:.6f} > {threat.eps:.6f}")


def _left_mask() -> ConstraintError:
    return ConstraintError("attack changed pixels outside the perturbable mask (padding)")
