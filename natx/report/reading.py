"""What a few reports on the same data show beyond chance, in sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scipy.stats import fisher_exact

from natx.evaluation.groups import group_sums
from natx.evaluation.outcomes import discordant
from natx.evaluation.robust import CLEAN
from natx.evaluation.statistics import LEVEL, mcnemar, mean_interval, sign_flips
from natx.report.cells import WORST, column_names, report_cells
from natx.report.intervals import counts, interval_text, set_intervals
from natx.report.paired import holm, outcomes_of, query_groups, scores_of

Report = dict[str, Any]
SHARES = ("Rank-1",)  # values of sets' metrics that are the share of attacked images that are right
HOW_QUERIES = (
    f"Beyond chance: p below {LEVEL:g} in a paired permutation test over the queries{{together}}, corrected after Holm "
    "for all {count} comparisons, each row with the first and the one before it. In brackets 95 % intervals over the "
    "queries, those of differences paired; another training may differ by more."
)
HOW = (
    f"Beyond chance: p below {LEVEL:g} in an exact test (McNemar's where outcomes of the same images are known, else "
    "Fisher's), corrected after Holm for all {count} comparisons, each row with the first and the one before it. In "
    "brackets 95 % intervals over the images; another training may differ by more."
)


@dataclass(frozen=True)
class Comparison:
    """Two reports in a column.

    Attributes:
        column: its name.
        first: one report.
        second: the other.
        gap: the second's share, or mean score, less the first's.
        p: of the test whether they differ.
        ends: the 95 % interval of a gap of mean scores; None of shares.
    """

    column: str
    first: Report
    second: Report
    gap: float
    p: float
    ends: tuple[float, float] | None = None


def reading(reports: Sequence[Report]) -> list[str]:
    """A sentence a column: what each report keeps of its images, and which differences are beyond chance.

    Empty for one report, and where none says what it keeps.

    Args:
        reports: on the same data; the first is what the others are held against.
    """
    if len(reports) < 2:
        return []
    columns = [WORST] if any("worst_case" in report for report in reports) else column_names(reports)
    pairs = {(a, b): None for b in range(1, len(reports)) for a in (0, b - 1)}
    queries = all(_of_queries(report) for report in reports)
    tell = _kept_queries if queries else _kept_images
    columns = [name for name in columns if name != CLEAN and all(tell(report, name) for report in reports)]
    compare = _compared_queries if queries else _compared
    tests = [compare(reports[a], reports[b], column) for column in columns for a, b in pairs]
    adjusted = holm([test.p for test in tests])
    lines = [
        _sentence(column, [tell(report, column) for report in reports], tests=list(zip(tests, adjusted)))
        for column in columns
    ]
    together = ", those of one person together" if query_groups(reports, WORST) else ""
    return [*lines, (HOW_QUERIES if queries else HOW).format(count=len(tests), together=together)] if tests else []


def _of_queries(report: Report) -> bool:
    """Whether a report has scores of queries that were judged on known images."""
    known = report.get("settings", {}).get("images_fingerprint") is not None
    return "cell" in report and known and scores_of(report, WORST) is not None


def kept(report: Report, column: str) -> tuple[int, int] | None:
    """How many images an attack leaves right, and of how many; None where a report does not say.

    A classifier's are all images. A set's are those with something to lose (``success``), or all attacked images
    where its metric has a value that is such a share.
    """
    if "cell" not in report:
        return counts(report).get(column)
    attack: dict[str, Any] = next((attack for attack in report["attacks"] if column in attack["columns"]), {})
    success = report.get("worst_case_success") if column == WORST else attack.get("success")
    if success and success["of"]:
        return success["of"] - success["fooled"], success["of"]
    values: dict[str, float] = next((entry["values"] for entry in report["columns"] if entry["name"] == column), {})
    share = next((values[name] for name in SHARES if name in values), None)
    return None if share is None else (round(share * report["attacked"] / 100), report["attacked"])


def _compared(first: Report, second: Report, column: str) -> Comparison:
    (a, n), (b, m) = kept(first, column) or (0, 1), kept(second, column) or (0, 1)
    right = [outcomes_of(report, column) if "cell" not in report else None for report in (first, second)]
    images = [report["settings"].get("images_fingerprint") for report in (first, second)]
    if right[0] is not None and right[1] is not None and images[0] == images[1] is not None:
        p = mcnemar(*discordant(right[0], right[1]))
    else:
        p = float(fisher_exact([[a, n - a], [b, m - b]]).pvalue)
    return Comparison(column, first, second, b / m - a / n, p)


def _compared_queries(first: Report, second: Report, column: str) -> Comparison:
    gaps = (scores_of(second, column) - scores_of(first, column)).tolist()  # type: ignore[operator]  # both have scores
    groups = query_groups([first, second], column)
    p, ends = sign_flips(group_sums(gaps, groups)[0].tolist()), mean_interval(gaps, groups=groups)
    return Comparison(column, first, second, sum(gaps) / len(gaps), p, ends)


def _kept_images(report: Report, column: str) -> str:
    """What a report keeps in a column, in words; empty where it does not say."""
    if (share := kept(report, column)) is None:
        return ""
    return f"{report['name']} keeps {share[0]} of {share[1]} ({interval_text(*share)} %)"


def _kept_queries(report: Report, column: str) -> str:
    """The same of the first value of a cell."""
    value, ends = report["cell"][0], set_intervals(report).get(column)
    if ends is None:
        return ""
    mean = report_cells(report)[column][0]
    return "{} keeps a {} of {:.2f} ({:.1f}–{:.1f})".format(report["name"], value, mean, *ends[value])


def _by(test: Comparison) -> str:
    """How far the higher mean score is above the lower one, with the interval of that; empty of shares."""
    if test.ends is None or not test.gap:
        return ""
    low, high = sorted(math.copysign(1, test.gap) * end for end in test.ends)
    return f" by {abs(test.gap):.2f} ({low:.2f} to {high:.2f})"


def _sentence(column: str, parts: Sequence[str], *, tests: Sequence[tuple[Comparison, float]]) -> str:
    """What is kept in one column, and which of its comparisons are beyond chance."""
    beyond: list[str] = []
    within: list[str] = []
    compared = [(test, p) for test, p in tests if test.column == column]
    for test, p in compared:
        high, low = (test.second, test.first) if test.gap > 0 else (test.first, test.second)
        text = f"{high['name']} {'over' if test.gap else 'level with'} {low['name']}{_by(test)} (p {p:.2g})"
        (beyond if p < LEVEL else within).append(text)
    if not beyond:
        return (
            f"{column}: {', '.join(parts)}. No difference beyond chance (smallest p {min(p for _, p in compared):.2g})."
        )
    verdicts = [f"Beyond chance: {', '.join(beyond)}", *([f"not beyond chance: {', '.join(within)}"] if within else [])]
    return f"{column}: {', '.join(parts)}. {'; '.join(verdicts)}."
