"""Random whole numbers for the generated set, the same on every machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias, TypeVar

import numpy as np

T = TypeVar("T")
Colour: TypeAlias = tuple[int, int, int]

# The second number of a key, after the set's seed: what is drawn.
CAMERA, SCENE, PERSON, PICTURE = 1, 2, 3, 4


class Draws:
    """Random whole numbers from a key, the same on every machine and with every version of numpy.

    Made from the raw output of PCG64 and not by numpy's ``Generator``, whose draws may change between versions.
    """

    def __init__(self, *key: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(key))

    def between(self, low: int, high: int) -> int:
        """Uniform on low..high, both included (the span is far below 2^32)."""
        return low + ((int(self._bits.random_raw()) >> 32) * (high - low + 1) >> 32)

    def chance(self, percent: int) -> bool:
        """True in so many of 100 cases."""
        return self.between(0, 99) < percent

    def choice(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[self.between(0, len(items) - 1)]

    def near(self, colour: Colour, spread: int) -> Colour:
        """A colour whose channels differ by at most ``spread``."""
        red, green, blue = (min(255, max(0, c + self.between(-spread, spread))) for c in colour)
        return red, green, blue

    def noise(self, shape: tuple[int, ...], amplitude: int) -> np.ndarray:
        """Roughly normal whole numbers within +-2 ``amplitude``, int16."""
        count = int(np.prod(shape))
        raw = self._bits.random_raw((count + 3) // 4).astype("<u8").view("<u2")[:count].view(np.uint8)
        # Four half-bytes: their sum less its mean is within +-30.
        total = (raw & 15).astype(np.int16) + (raw >> 4)
        return ((total[0::2] + total[1::2] - 30) * amplitude // 15).reshape(shape)


def blend(first: Colour, second: Colour, percent: int) -> Colour:
    """``percent`` of the second colour in the first."""
    red, green, blue = ((a * (100 - percent) + b * percent) // 100 for a, b in zip(first, second))
    return red, green, blue


def dark(colour: Colour, percent: int = 25) -> Colour:
    """A colour made darker."""
    return blend(colour, (0, 0, 0), percent)
