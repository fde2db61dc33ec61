"""Remarks of attacks on the blocks that they ran on, as one list: the same text once, counts added up."""

from __future__ import annotations

import re
from collections.abc import Iterable

SQUARE = "images that Square broke after the gradient attacks: "  # a count follows
COUNT = re.compile(rf"{re.escape(SQUARE)}(\d+)")


def merged(parts: Iterable[Iterable[str]]) -> list[str]:
    """The remarks of several blocks, in order of first appearance; those that count images become their sum."""
    found: dict[str, int | None] = {}
    for note in (note for part in parts for note in part):
        counted = COUNT.fullmatch(note)
        if counted is None:
            found.setdefault(note, None)
        else:
            found[SQUARE] = (found.get(SQUARE) or 0) + int(counted[1])
    return [note if count is None else f"{note}{count}" for note, count in found.items()]


def square_broke(notes: Iterable[str]) -> int:
    """How many images Square alone broke, by such remarks."""
    return sum(int(counted[1]) for note in notes if (counted := COUNT.fullmatch(note)))
