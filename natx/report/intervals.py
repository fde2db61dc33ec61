"""How far the accuracies of a report could lie from those on all images of the kind: Wilson's 95 % intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from natx.evaluation.statistics import wilson
from natx.report.cells import WORST

INTERVAL = "95 % interval"


def interval(correct: int, images: int) -> tuple[float, float]:
    """Wilson's 95 % interval of an accuracy, in percent."""
    low, high = wilson(correct, images)
    return 100 * low, 100 * high


def interval_text(correct: int, images: int) -> str:
    """The interval in a cell, such as ``47.9–56.6``."""
    low, high = interval(correct, images)
    return f"{low:.1f}–{high:.1f}"


def counts(report: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """How many images are right, and of how many, by column; nothing for columns that are no such share."""
    shares = {
        column["name"]: (column["correct"], column["images"]) for column in report["columns"] if "correct" in column
    }
    if "worst_case" in report and shares:
        shares[WORST] = (round(report["worst_case"] * report["images"] / 100), report["images"])
    return shares


def interval_cells(report: dict[str, Any], names: Sequence[str]) -> list[str]:
    """A report's intervals for some columns; empty where it has none."""
    shares = counts(report)
    return [interval_text(*shares[name]) if name in shares else "" for name in names]


def widest(images: int) -> float:
    """The most that an accuracy on so many images can lie from either end of its interval, in points."""
    return max(end for share in range(images + 1) for end in _distances(100 * share / images, interval(share, images)))


def _distances(accuracy: float, ends: tuple[float, float]) -> tuple[float, float]:
    return accuracy - ends[0], ends[1] - accuracy
