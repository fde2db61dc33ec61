"""Patches: a threat model that is no norm ball. One rectangle of an image may become anything, the rest stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from natx.errors import ConfigError, ConstraintError
from natx.expect import expect
from natx.registry import THREATS
from natx.threat import Ball, ThreatModel

GREY = 0.5  # of a rectangle that only covers what is there


@THREATS.register_module()
@dataclass(frozen=True)
class Patch(ThreatModel):
    """One rectangle of ``height`` x ``width`` pixels of the image may become anything in [0,1]; the rest stays.

    Brown et al. 2017 ("Adversarial Patch"), with the rectangle pasted as it is: not turned, scaled or lit.

    Args:
        height: of the rectangle, in pixels of the images as the network gets them.
        width: of the rectangle; the height where it is left out.
        corner: row and column of its first pixel, the same in every image; without it the attacker chooses a place for
            each image, wholly inside it.
        image: height and width of the images that it is meant for (or one number for both), as reports print them;
            other images are refused.

    Raises:
        ConfigError: sizes or a corner that are no whole numbers, or a rectangle that does not fit the images.
    """

    height: int
    width: int | None = None
    corner: tuple[int, int] | None = None
    image: tuple[int, int] | int | None = None
    kind = "patch"
    norm = "patch"
    attack = "PatchPGD"

    def __post_init__(self) -> None:
        # Frozen, and yet its own settings are brought into one form: equal patches compare equal.
        settle = partial(object.__setattr__, self)
        settle("width", self.height if self.width is None else self.width)
        image = (self.image, self.image) if isinstance(self.image, int) else self.image
        for name, pair, least in (("corner", self.corner, 0), ("image", image, 1)):
            settle(name, None if pair is None else _whole(pair, name, least=least))
        _whole((self.height, self.width), "size", least=1)
        if self.image is not None:
            self.check_fits(*self.image)  # type: ignore[misc]  # a pair by now

    def __str__(self) -> str:
        of = "" if self.image is None else " of {}x{}".format(*self.image)  # type: ignore[misc]
        place = "" if self.corner is None else " at row {}, column {}".format(*self.corner)
        return f"patch {self.height}x{self.width}{of}{place}"

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the rectangle."""
        return self.height, int(self.width or self.height)

    @property
    def radius(self) -> float:
        """See :attr:`ThreatModel.radius`: a pixel of the rectangle may go from 0 to 1."""
        return 1.0

    def scaled(self, factor: float) -> Patch:
        """See :meth:`ThreatModel.scaled`; a patch has none."""
        raise ConfigError(f"{self} has no eps that could be scaled: leave out eps_warmup and --eps")

    def around(self, x: Tensor, mask: Tensor | None = None) -> PatchBall:
        """See :meth:`ThreatModel.around`."""
        return PatchBall(self, x, mask)

    def check_fits(self, height: int, width: int) -> None:
        """Raise ConfigError where the rectangle does not lie in an image of ``height`` x ``width``."""
        top, left = self.corner or (0, 0)
        if top + self.height > height or left + self.size[1] > width:
            raise ConfigError(f"{self} does not fit an image of {height}x{width}: make it smaller")


class PatchBall(Ball):
    """A patch bound to images: placed in each of them, or (without places) anywhere.

    Args:
        threat: the patch.
        x: the images ``[N, C, H, W]``.
        mask: pixels that are no padding ``[N, 1, H, W]``, a rectangle from the first pixel on; None for all.
        corners: row and column of the patch's first pixel in each image, int64 ``[N, 2]``; None: anywhere, unless the
            threat model names a corner.

    Raises:
        ConfigError: an image that the patch does not fit, or of another size than the threat model is for.
    """

    threat: Patch

    def __init__(self, threat: Patch, x: Tensor, mask: Tensor | None = None, corners: Tensor | None = None) -> None:
        super().__init__(threat, x, mask)
        self.sizes = _sizes(x, mask)
        for height, width in dict.fromkeys(map(tuple, self.sizes.tolist())):
            threat.check_fits(height, width)
            if threat.image not in (None, (height, width)):
                raise ConfigError(f"{threat} is not meant for an image of {height}x{width}: leave out its image")
        if corners is None and threat.corner is not None:
            corners = torch.tensor(threat.corner).expand(len(x), 2)
        self.corners = None if corners is None else corners.to(x.device)

    def at(self, corners: Tensor) -> PatchBall:
        """The same patch at ``corners`` ``[N, 2]``."""
        return PatchBall(self.threat, self.x, self.mask, corners)

    def at_random(self, draws: Tensor) -> PatchBall:
        """The same patch at places by uniform draws in [0,1) ``[N, 2]``, every place alike."""
        return self.at((draws.to(self.x.device) * self.room).long())

    def select(self, rows: Tensor) -> PatchBall:
        """See :meth:`Ball.select`; places are kept."""
        mask, corners = (None if part is None else part[rows] for part in (self.mask, self.corners))
        return PatchBall(self.threat, self.x[rows], mask, corners)

    @property
    def room(self) -> Tensor:
        """How many rows and columns there are for the patch's first pixel, int64 ``[N, 2]``."""
        return self.sizes.to(self.x.device) - torch.tensor(self.threat.size, device=self.x.device) + 1

    @property
    def inside(self) -> Tensor:
        """The patch's pixels, bool ``[N, 1, H, W]``; raises ConfigError where it has no place."""
        if self.corners is None:
            raise ConfigError(f"{self.threat} has no place yet: attack with PatchPGD, or give it a corner")
        sides = []
        for axis, extent in enumerate(self.threat.size):
            at = torch.arange(self.x.shape[2 + axis], device=self.x.device) - self.corners[:, axis, None]
            sides.append((at >= 0) & (at < extent))
        return (sides[0][:, :, None] & sides[1][:, None, :])[:, None]

    def start(self, noise: Tensor, radius: Tensor) -> Tensor:
        """Uniform in [0,1] inside the patch; an image's own draw is not used."""
        return torch.where(self.inside, noise.to(self.x.dtype), self.x)

    def covered(self, colour: float = GREY) -> Tensor:
        """The images with a patch of one colour."""
        return self.x.masked_fill(self.inside, colour)

    def steepest(self, grad: Tensor) -> Tensor:
        """``sign(grad)`` inside the patch."""
        return grad.sign() * self.inside

    def project(self, x_adv: Tensor) -> Tensor:
        """Clip the patch to [0,1] and put the image back around it."""
        return torch.where(self.inside, x_adv.clamp(0, 1), self.x)

    def distance(self, x_adv: Tensor) -> Tensor:
        """Largest pixel change of each image ``[N]``."""
        return (x_adv - self.x).abs().flatten(1).amax(1)

    def expect_inside(self, x_adv: Tensor) -> None:
        """See :meth:`Ball.expect_inside`: the pixels that changed lie in the patch, or in one that it could be.

        What has no place is measured: the rows and columns from the first to the last changed pixel.
        """
        changed = (x_adv != self.x).any(1)  # [N, H, W]
        if self.corners is not None:
            expect(~(changed & ~self.inside[:, 0]).any(), partial(_left_patch, self.threat))
            return
        height, width = (_extent(changed.any(axis)).amax() for axis in (2, 1))
        holds = (height <= self.threat.size[0]) & (width <= self.threat.size[1])
        expect(holds, partial(_too_large, self.threat), height, width)


def _whole(pair: Sequence[Any], name: str, *, least: int) -> tuple[int, int]:
    """A pair of whole numbers as a tuple."""
    values = tuple(pair)
    if len(values) != 2 or not all(type(value) is int and value >= least for value in values):
        raise ConfigError(f"a patch's {name} is two whole numbers from {least} on, rows first; got {pair}")
    return values[0], values[1]


def _sizes(x: Tensor, mask: Tensor | None) -> Tensor:
    """Height and width of each image without its padding, int64 ``[N, 2]`` on the CPU."""
    if mask is None:
        return torch.tensor(x.shape[-2:]).expand(len(x), 2)
    present = (mask != 0)[:, 0]
    return torch.stack([present.any(2).sum(1), present.any(1).sum(1)], 1).cpu()


def _extent(changed: Tensor) -> Tensor:
    """Places from the first to the last that is true in each row, int64 ``[N]``; 0 where none is."""
    place = torch.arange(changed.shape[1], device=changed.device)
    first = place.where(changed, changed.shape[1]).amin(1)
    return (place.where(changed, -1).amax(1) - first + 1).clamp_min(0)


def _left_patch(threat: Patch) -> ConstraintError:
    return ConstraintError(f"attack changed pixels outside its {threat}")


def _too_large(threat: Patch, height: float, width: float) -> ConstraintError:
    return ConstraintError(
        f"attack left {threat}: the changed pixels of an image lie in {height:.0f} rows and {width:.0f} columns"
    )
