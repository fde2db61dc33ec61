"""How far the numbers of a report could lie from those on all images of the kind: 95 % intervals.

Of accuracies and other shares Wilson's, of means over queries and of values of a whole set the bootstrap's. Queries of
one person are drawn together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from natx.evaluation.groups import independent_draws
from natx.evaluation.statistics import IMAGE_RESAMPLES, RESAMPLES, SEED, mean_interval, wilson
from natx.report.cells import WORST

INTERVAL = "95 % interval"
OVER_IMAGES = (
    f"Intervals are over the images: the bootstrap's ({IMAGE_RESAMPLES:,} resamples of the set, seed {SEED}, their "
    "percentiles shifted so that their mean is the value), and Wilson's of success rates."
)


def over_what(report: dict[str, Any]) -> str:
    """How the worst case of a set and the intervals of its values are taken, in sentences."""
    if any("scores" in column for column in report["columns"]):
        return _over_queries(report)
    worst = f"The worst case {report['worst_case_rule']}." if "worst_case_rule" in report else ""
    return " ".join(text for text in (worst, OVER_IMAGES if set_intervals(report) else "") if text)


def _over_queries(report: dict[str, Any]) -> str:
    """What the worst case and the intervals of a ranking are."""
    worst = ""
    if "worst_case_scores" in report:
        worst = "The worst case takes the lowest that any column leaves each query, value by value. "
        if apart := [column["name"] for column in report["columns"] if "scores" not in column]:
            worst += (
                f"It is over the attacks on the queries alone: under {', '.join(apart)} what others find changes too. "
            )
    bootstrap = f"the bootstrap's of means ({RESAMPLES:,} resamples, seed {SEED})"
    groups = [entry["query_groups"] for entry in (report, *report["columns"]) if "query_groups" in entry]
    if not groups:
        return f"{worst}Intervals are over the queries: Wilson's of shares, {bootstrap}."
    people = " or ".join(dict.fromkeys(str(len(set(of_column))) for of_column in groups))
    return (
        f"{worst}Intervals are over the {people} people, whose queries are drawn together: {bootstrap}, of shares "
        "Wilson's with as many queries as independent ones would tell as much."
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


def score_interval(scores: Sequence[float], groups: Sequence[int] | None = None) -> list[float]:
    """The 95 % interval of the mean of queries' scores, in percent: Wilson's where each is 0 or 100.

    Of one query, or of one person's alone, resamples are all alike and tell nothing: anything is possible.

    Args:
        scores: of each query (%).
        groups: which queries belong together; None where each is one by itself.
    """
    if set(scores) <= {0.0, 100.0}:
        right = [score / 100 for score in scores]
        draws = independent_draws(right, groups)
        return [100 * end for end in wilson(draws * (sum(right) / len(right)), draws)]
    if len(set(range(len(scores)) if groups is None else groups)) < 2:
        return [0.0, 100.0]
    return list(mean_interval(scores, groups=groups))


def set_intervals(report: dict[str, Any]) -> dict[str, dict[str, list[float]]]:
    """The intervals of a set's values by column, over its queries or images; nothing for columns without any."""
    columns = {column["name"]: column["intervals"] for column in report["columns"] if "intervals" in column}
    if "worst_case_intervals" in report:
        columns[WORST] = report["worst_case_intervals"]
    return columns


def interval_cells(report: dict[str, Any], names: Sequence[str]) -> list[str]:
    """A report's intervals for some columns, such as ``47.9–56.6`` or ``3.1–5.2/0.8–5.5``; empty where it has none."""
    if "cell" in report:
        values = set_intervals(report)
        whole = {name: by_key for name, by_key in values.items() if by_key.keys() >= set(report["cell"])}
        ends = {name: [by_key[key] for key in report["cell"]] for name, by_key in whole.items()}
        texts = {name: "/".join(f"{low:.1f}–{high:.1f}" for low, high in pairs) for name, pairs in ends.items()}
        return [texts.get(name, "") for name in names]
    shares = counts(report)
    return [interval_text(*shares[name]) if name in shares else "" for name in names]


def widest(images: int) -> float:
    """The most that an accuracy on so many images can lie from either end of its interval, in points."""
    return max(end for share in range(images + 1) for end in _distances(100 * share / images, interval(share, images)))


def _distances(accuracy: float, ends: tuple[float, float]) -> tuple[float, float]:
    return accuracy - ends[0], ends[1] - accuracy
