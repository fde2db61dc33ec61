"""Schedule: a setting that changes with the epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import cast

from natx.errors import ConfigError


class Schedule:
    """A number for each epoch: always the same, or from some epochs on another.

    Args:
        value: a number, or pairs ``(first epoch, number)`` that rise from epoch 0, e.g. ``[(0, 0), (50, 1), (90, 2)]``
            for 0 in the first 50 epochs. Epochs are counted from 0.
        name: of the setting, for errors.

    Raises:
        ConfigError: a number that is negative or not finite, or pairs that do not rise from epoch 0.
    """

    def __init__(self, value: float | Sequence[Sequence[float]], *, name: str) -> None:
        pairs = cast(Sequence[Sequence[float]], ((0, value),) if isinstance(value, Real) else value)
        try:
            self.pairs = tuple((first, number) for first, number in pairs)
            starts = [first for first, _ in self.pairs]
            rising = starts == sorted(set(starts)) and starts[:1] == [0]
            fit = rising and all(math.isfinite(number) and number >= 0 for _, number in self.pairs)
        except (TypeError, ValueError):
            fit = False
        if not fit:
            raise ConfigError(
                f"{name} is a number >= 0 or pairs (first epoch, number) rising from epoch 0, as [(0, 1), (50, 2)]; "
                f"got {value!r}"
            )

    def __call__(self, epoch: int) -> float:
        """The number in an epoch (counted from 0)."""
        return [number for first, number in self.pairs if first <= epoch][-1]

    def __str__(self) -> str:
        return ", ".join(f"{number:g} from epoch {first}" for first, number in self.pairs)


__all__ = ["Schedule"]
