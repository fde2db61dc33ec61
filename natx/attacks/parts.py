"""Parts of an attack on one block of images, which are kept as they are finished where a judging keeps its progress."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass
class Part:
    """What one member of an ensemble made of the images it was given.

    Attributes:
        x_adv: its pixels ``[n, C, H, W]``.
        forwards: images that it pushed forward.
        backwards: likewise.
        at_least: what :meth:`natx.attacks.tally.Tally.some_gradients` counted, int64 ``[2]``.
        flags: what the library said of it.
        seconds: time.
    """

    x_adv: Tensor
    forwards: int
    backwards: int
    at_least: Tensor
    flags: list[str]
    seconds: float


class Parts(Protocol):
    """The finished parts of an attack on one block."""

    def stored(self, number: int, x: Tensor) -> Part | None:
        """The part of a number, in their order, if it was finished on just these pixels before."""

    def add(self, number: int, x: Tensor, part: Part) -> None:
        """Keep a finished part; it is on the disk when this returns."""


__all__ = ["Part", "Parts"]
