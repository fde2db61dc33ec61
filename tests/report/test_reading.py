"""What a few reports show beyond chance."""

from __future__ import annotations

import math
import re
from typing import Any

import torch

from natx.evaluation.outcomes import packed
from natx.report.paired import findings, paired_table
from natx.report.reading import kept, reading


def classifier(name: str, right: int, images: int = 100, *, outcomes: bool = True) -> dict[str, Any]:
    row = torch.arange(images) < right
    column = {"name": "Clean", "accuracy": 100.0, "correct": images, "images": images}
    report = {"name": name, "columns": [column], "images": images, "worst_case": 100 * right / images}
    settings = {"images_fingerprint": "d0"}
    return {**report, "settings": settings, **({"worst_case_outcomes": packed(row)} if outcomes else {})}


def detector(name: str, **fooled: tuple[int, int]) -> dict[str, Any]:
    attacks = [{"columns": [key], "success": {"fooled": k, "of": n}} for key, (k, n) in fooled.items()]
    columns = [{"name": key, "values": {"mAP": 1.0}} for key in ("Clean", *fooled)]
    whole = [{"columns": ["Clean"]}, *attacks]
    return {"name": name, "cell": ["mAP"], "columns": columns, "attacks": whole, "attacked": 9, "settings": {}}


def hypergeometric(a: int, n: int, b: int, m: int) -> float:
    """Fisher's two-sided p-value of a of n against b of m, summed by hand."""

    def probability(x: int) -> float:
        return math.comb(n, x) * math.comb(m, a + b - x) / math.comb(n + m, a + b)

    xs = range(max(0, a + b - m), min(n, a + b) + 1)
    return sum(probability(x) for x in xs if probability(x) <= probability(a) * (1 + 1e-9))


def test_the_same_images_are_compared_image_by_image() -> None:
    line, how = reading([classifier("A", 0), classifier("B", 60), classifier("C", 62)])
    assert line.startswith("Worst case: A keeps 0 of 100 (0.0–3.7 %), B keeps 60 of 100 (50.2–69.1 %), C keeps 62 of")
    assert "Beyond chance: B over A (p " in line and ", C over A (p " in line
    assert line.endswith("; not beyond chance: C over B (p 0.5).")  # two images of two: 2 * 0.5**2
    assert "all 3 comparisons" in how


def test_without_outcomes_shares_are_compared() -> None:
    lines = reading([classifier("A", 50, outcomes=False), classifier("B", 60, outcomes=False)])
    assert f"No difference beyond chance (smallest p {hypergeometric(50, 100, 60, 100):.2g})." in lines[0]


def test_a_set_is_read_attack_by_attack() -> None:
    a, b = detector("A", loss=(28, 30), DAG=(30, 30)), detector("B", loss=(26, 30), DAG=(10, 30))
    assert kept(a, "loss") == (2, 30) and kept(a, "Clean") is None
    loss, dag, how = reading([a, b])
    p = sorted([hypergeometric(2, 30, 4, 30), hypergeometric(0, 30, 20, 30)])
    assert loss.startswith("loss: A keeps 2 of 30 (") and loss.endswith(f"beyond chance (smallest p {p[1]:.2g}).")
    assert dag.endswith(f"Beyond chance: B over A (p {2 * p[0]:.2g}).")
    assert "all 2 comparisons" in how


def test_rank_1_is_a_share_of_the_attacked_queries() -> None:
    report = detector("A", FNA=(0, 0))
    del report["attacks"][1]["success"]
    report["columns"][1]["values"] = {"mAP": 3.3, "Rank-1": 3.125}
    assert kept({**report, "attacked": 128}, "FNA") == (4, 128)


def test_equal_shares_are_level() -> None:
    line = reading([classifier("A", 0), classifier("C", 60), classifier("B", 60)])[0]
    assert line.endswith("; not beyond chance: C level with B (p 1).")


def searches(name: str, scores: list[float]) -> dict[str, Any]:
    mean = sum(scores) / len(scores)
    column = {"name": "Clean", "values": {"mAP": 100.0}}
    report = {"name": name, "cell": ["mAP"], "columns": [column], "attacks": [], "worst_case": {"mAP": mean}}
    worst = {"worst_case_intervals": {"mAP": [mean - 1, mean + 1]}, "worst_case_scores": {"mAP": scores}}
    return {**report, **worst, "settings": {"images_fingerprint": "d0", "training_seed": 0}}


def test_the_worst_case_of_queries_is_compared_query_by_query() -> None:
    low, high = searches("A", [1.0, 2.0, 0.0, 4.0, 2.0, 3.0]), searches("B", [2.0, 4.0, 1.0, 9.0, 3.0, 5.0])
    line, how = reading([low, high])
    assert line.startswith(
        "Worst case: A keeps a mAP of 2.00 (1.0–3.0), B keeps a mAP of 4.00 (3.0–5.0). Beyond chance:"
    )
    # Two of 64 sign patterns are as far out; all differences are above zero, so every resample is.
    by, low_end, high_end = map(
        float, re.search(r"B over A by (\S+) \((\S+) to (\S+)\) \(p 0\.031\)\.$", line).groups()
    )
    assert by == 2.0 and 1.0 <= low_end < 2.0 < high_end <= 5.0
    assert "paired permutation test over the queries" in how
    table = paired_table({"A": [low], "B": [high]})
    assert table is not None and table.rows[0].cells == ["B", "+2.00, p 0.031"]
    assert "points of mAP" in table.caption and "the 6 queries" in table.caption
    against, best = findings({"A": [low], "B": [high]})
    assert (
        against == f"B against A: +2.00 points (+{low_end} to +{high_end}) in the worst case (p 0.031, beyond chance)"
    )
    assert best == "the highest row is B, beyond chance above every other row"
    assert findings({"A": [low], "B": [low]})[-1] == "the highest row is A, not told apart from B"
    assert findings({"A": [classifier("A", 0)], "B": [classifier("B", 60)]}) == []


def test_the_highest_row_is_told_from_rows_without_a_common_seed_by_nothing() -> None:
    low, high = [1.0, 2.0, 0.0, 4.0, 2.0, 3.0] * 2, [2.0, 4.0, 1.0, 9.0, 3.0, 5.0] * 2
    a = [searches("A", low), searches("A", low)]
    a[1]["settings"] = {**a[1]["settings"], "training_seed": 1}
    c = searches("C", [8.0] * 12)
    c["settings"] = {**c["settings"], "training_seed": 1}
    *_, best, seeds = findings({"A": a, "B": [searches("B", high)], "C": [c]})
    assert best == "the highest row is C, not told apart from B"  # seeds 1 and 0
    assert seeds.startswith("rows with other seeds are compared on those that both have")


def test_queries_of_one_person_stay_together() -> None:
    low, high = searches("A", [1.0, 2.0, 0.0, 4.0, 2.0, 3.0]), searches("B", [2.0, 4.0, 1.0, 9.0, 3.0, 5.0])
    for report in (low, high):
        report["query_groups"] = [7, 7, 3, 3, 3, 5]
    line, how = reading([low, high])
    assert line.endswith(
        "No difference beyond chance (smallest p 0.25)."
    )  # the sums 3, 7 and 2 have eight sign patterns, of which two are as far out
    assert "over the queries, those of one person together, corrected" in how
    table = paired_table({"A": [low], "B": [high]})
    assert table is not None and table.rows[0].cells == ["B", "+2.00, p 0.25"]
    assert "of the differences of the 3 people, whose queries stay together, flipped" in table.caption
    assert "(p 0.25, not beyond chance)" in findings({"A": [low], "B": [high]})[0]


def test_one_report_has_nothing_to_compare() -> None:
    assert reading([classifier("A", 10)]) == []
