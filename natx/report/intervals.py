"""How far the numbers of a report could lie from those on all images of the kind: 95 % intervals.

Of accuracies and other shares Wilson's, of means over queries the bootstrap's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from natx.evaluation.statistics import RESAMPLES, SEED, mean_interval, wilson
from natx.report.cells import WORST

INTERVAL = "95 % interval"
OVER_QUERIES = (
    "The worst case takes the lowest that any column leaves each query, value by value. Intervals are over the "
    f"queries: Wilson's of shares, the bootstrap's of means ({RESAMPLES:,} resamples, seed {SEED})."
)


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


def score_interval(scores: Sequence[float]) -> list[float]:
    """The 95 % interval of the mean of queries' scores, in percent: Wilson's where each is 0 or 100."""
    if set(scores) <= {0.0, 100.0}:
        return list(interval(sum(score > 0 for score in scores), len(scores)))
    return list(mean_interval(scores))


def query_intervals(report: dict[str, Any]) -> dict[str, dict[str, list[float]]]:
    """The intervals of a set's values by column; nothing for columns without scores of queries."""
    columns = {column["name"]: column["intervals"] for column in report["columns"] if "intervals" in column}
    if "worst_case_intervals" in report:
        columns[WORST] = report["worst_case_intervals"]
    return columns


def interval_cells(report: dict[str, Any], names: Sequence[str]) -> list[str]:
    """A report's intervals for some columns, such as ``47.9–56.6`` or ``3.1–5.2/0.8–5.5``; empty where it has none."""
    if "cell" in report:
        values = query_intervals(report)
        ends = {name: [by_key[key] for key in report["cell"]] for name, by_key in values.items()}
        texts = {name: "/".join(f"{low:.1f}–{high:.1f}" for low, high in pairs) for name, pairs in ends.items()}
        return [texts.get(name, "") for name in names]
    shares = counts(report)
    return [interval_text(*shares[name]) if name in shares else "" for name in names]


def widest(images: int) -> float:
    """The most that an accuracy on so many images can lie from either end of its interval, in points."""
    return max(end for share in range(images + 1) for end in _distances(100 * share / images, interval(share, images)))


def _distances(accuracy: float, ends: tuple[float, float]) -> tuple[float, float]:
    return accuracy - ends[0], ends[1] - accuracy
