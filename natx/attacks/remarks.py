"""Remarks of attacks on the blocks that they ran on, as one list: the same text once, counts added up."""

from __future__ import annotations

import re
from collections.abc import Iterable

# A count of images follows each of these.
SQUARE = "images that Square broke after the gradient attacks: "
FAINT = "images whose gradient was zero at some step before they were broken, where steps lead nowhere: "
UNDEFINED = "images whose gradient was NaN or infinite at some step, where such entries were taken as 0: "
UNREADABLE = "images that count as broken because their logits became NaN or infinite under attack: "
FAINT_AT_LEAST = "images, at the least, whose gradient was zero for AutoAttack's library: "
UNDEFINED_AT_LEAST = "images, at the least, whose gradient was NaN or infinite for AutoAttack's library: "
SATURATED = (
    "images whose logits are so far apart that cross-entropy is exactly 0 in float32, so attacks that climb it see a "
    "rounded gradient (compare C&W and AutoAttack): "
)
WORST = "attacked images whose predictions were NaN or infinite, which count as the worst there are: "
COUNTED = (SATURATED, WORST, SQUARE, FAINT, UNDEFINED, UNREADABLE, FAINT_AT_LEAST, UNDEFINED_AT_LEAST)
COUNT = re.compile(rf"({'|'.join(map(re.escape, COUNTED))})(\d+)")


def merged(parts: Iterable[Iterable[str]]) -> list[str]:
    """The remarks of several blocks, in order of first appearance; those that count images become their sum."""
    sums: dict[str, int | None] = {}
    for note in (note for part in parts for note in part):
        match = COUNT.fullmatch(note)
        if match is None:
            sums.setdefault(note, None)
        else:
            sums[match[1]] = (sums.get(match[1]) or 0) + int(match[2])
    return [note if count is None else f"{note}{count}" for note, count in sums.items()]


def square_broke(notes: Iterable[str]) -> int:
    """How many images Square alone broke, by such remarks."""
    return sum(int(match[2]) for note in notes if (match := COUNT.fullmatch(note)) and match[1] == SQUARE)
