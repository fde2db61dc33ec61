"""Remarks of attacks on the blocks that they ran on, as one list: the same text once, counts added up."""

from __future__ import annotations

import re
from collections.abc import Iterable

SQUARE = "images that Square broke after the gradient attacks: "  # a count follows
COUNT = re.compile(rf"{re.escape(SQUARE)}(\d+)")


def merged(parts: Iterable[Iterable[str]]) -> list[str]:
    """The remarks of several blocks, in order of first appearance; those that count images become their sum."""
    sums: dict[str, int | None] = {}
    for note in (note for part in parts for note in part):
        match = COUNT.fullmatch(note)
        if match is None:
            sums.setdefault(note, None)
        else:
            sums[SQUARE] = (sums.get(SQUARE) or 0) + int(match[1])
    return [note if count is None else f"{note}{count}" for note, count in sums.items()]


def square_broke(notes: Iterable[str]) -> int:
    """How many images Square alone broke, by such remarks."""
    return sum(int(match[1]) for note in notes if (match := COUNT.fullmatch(note)))
