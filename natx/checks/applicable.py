"""Whether a check has anything to look at."""

from __future__ import annotations


class NotApplicableError(Exception):
    """A check has nothing to look at in this setting; the text says why. Never leaves :mod:`natx.checks.base`."""


def require_above_chance(accuracy: float, classes: int) -> None:
    """NotApplicableError where a clean accuracy (%) is no better than :func:`guessing`."""
    if accuracy <= guessing(classes):
        chance = f"guessing gives {100 / classes:.1f} %"
        raise NotApplicableError(f"without attack {accuracy:.1f} % are right, {chance}: there is nothing to break")


def guessing(classes: int) -> float:
    """The most accuracy (%) that counts as guessing: a twentieth of the way from chance to perfect."""
    chance = 100 / classes
    return chance + 0.05 * (100 - chance)
