"""Intervals beside accuracies, pairs on the same images, and what it would take to see a difference."""

from __future__ import annotations

import math
import statistics
from typing import Any

import pytest
import torch

from natx.evaluation.outcomes import packed
from natx.report import intervals
from natx.report.intervals import counts, interval_cells, widest
from natx.report.needed import discordant_share, headline, needed_table
from natx.report.paired import holm, outcomes_of, paired_table
from natx.report.summary import summary_table
from natx.report.text import markdown_table

Z = 1.959963984540054  # of the normal distribution, two-sided 95 %


def score_interval(correct: int, images: int) -> tuple[float, float]:
    """Wilson's interval in percent, from its formula."""
    p, n = correct / images, images
    middle = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2)) / (1 + Z**2 / n)
    return 100 * (middle - half), 100 * (middle + half)


def report(*columns: list[int], seed: int | str = 0, images: str = "d0") -> dict[str, Any]:
    """A report of columns with an outcome (0 or 1) an image."""
    right = torch.tensor(columns, dtype=torch.bool)
    entries = [
        {
            "name": name,
            "accuracy": 100 * float(row.double().mean()),
            "correct": int(row.sum()),
            "images": len(row),
            "outcomes": packed(row),
        }
        for name, row in zip(("Clean", "PGD"), right)
    ]
    broken = right.all(0)
    worst_case = {"worst_case": 100 * float(broken.double().mean()), "worst_case_outcomes": packed(broken)}
    settings = {"images_fingerprint": images, "training_seed": seed}
    return {
        "name": "a",
        "columns": entries,
        "images": right.shape[1],
        "settings": settings,
        **worst_case,
    }


def test_intervals_are_wilsons() -> None:
    one = report([1] * 90 + [0] * 10, [1] * 40 + [0] * 60)
    assert counts(one) == {"Clean": (90, 100), "PGD": (40, 100), "Worst case": (40, 100)}
    ends = {name: score_interval(*pair) for name, pair in counts(one).items()}
    assert interval_cells(one, ["PGD", "Clean", "AA"]) == [
        *(f"{ends[name][0]:.1f}–{ends[name][1]:.1f}" for name in ("PGD", "Clean")),
        "",
    ]
    assert widest(100) == pytest.approx(max(score_interval(k, 100)[1] - k for k in range(101)))


def test_one_query_or_one_person_tells_nothing_of_others() -> None:
    """A bootstrap of one draw is that draw again: an interval without width, as if it were certain."""
    assert intervals.score_interval([37.5]) == [0.0, 100.0]
    assert intervals.score_interval([37.5, 12.5, 40.0], [4, 4, 4]) == [0.0, 100.0]
    low, high = intervals.score_interval([37.5, 12.5, 40.0], [4, 4, 7])
    assert low == pytest.approx(25.0) and high == pytest.approx(40.0)
    share = intervals.score_interval([100.0, 100.0], [4, 4])
    assert share == pytest.approx([score_interval(1, 1)[0], 100.0])


def test_a_set_has_no_intervals() -> None:
    report = {"columns": [{"name": "Clean", "values": {"mAP": 40.0}}], "cell": ["mAP"], "images": 9}
    assert counts(report) == {} and interval_cells(report, ["Clean"]) == [""]


def test_every_accuracy_of_a_table_has_its_interval_beneath() -> None:
    one = report([1] * 90 + [0] * 10, [1] * 40 + [0] * 60)
    low, high = score_interval(90, 100)
    row = markdown_table([one]).splitlines()[3]
    assert row.startswith(f"| 95 % interval | {low:.1f}–{high:.1f} | ")
    alone = summary_table({"NAT": [one]}).markdown()
    assert alone[3].startswith(f"| 95 % interval | | {low:.1f}–{high:.1f} | ")
    assert len(summary_table({"NAT": [one, one]}).markdown()) == 3  # means have a deviation


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]) == [1.0, 1.0] and holm([]) == []


def exact(first: int, second: int) -> float:
    """Two-sided binomial p-value of discordant counts, from its sum."""
    n = first + second
    tail = sum(math.comb(n, k) for k in range(min(first, second) + 1)) / 2**n
    return min(1.0, 2 * tail)


def test_pairs_on_the_same_images_are_tested_exactly() -> None:
    a = report([1] * 20, [1] * 9 + [0] * 11)
    b = report([1] * 20, [0] * 8 + [1] * 2 + [0] * 10)  # 8 images only a gets right, 1 only b
    table = paired_table({"A": [a], "B": [b]})
    assert table.head == ["", "A"] and [row.cells for row in table.rows] == [["B", f"-35.00, p {exact(8, 1):.2g}"]]
    assert "worst case" in table.caption and "20 images" in table.caption and "the 1 pairs" in table.caption


def test_three_rows_are_corrected_for_three_pairs() -> None:
    rows = {name: [report([1] * 40, [1] * k + [0] * (40 - k))] for name, k in (("A", 30), ("B", 20), ("C", 21))}
    table = paired_table(rows)
    p = dict(zip(("BA", "CA", "CB"), holm([exact(10, 0), exact(9, 0), exact(1, 0)])))
    assert [row.cells for row in table.rows] == [
        ["B", f"-25.00, p {p['BA']:.2g}", ""],
        ["C", f"-22.50, p {p['CA']:.2g}", f"+2.50, p {p['CB']:.2g}"],
    ]


def test_several_seeds_are_one_vote_an_image() -> None:
    a = [report([1] * 4, [1, 1, 0, 0], seed=0), report([1] * 4, [1, 0, 1, 0], seed=1)]
    b = [report([1] * 4, [0, 0, 0, 1], seed=0), report([1] * 4, [0, 0, 1, 0], seed=1), report([1] * 4, [1] * 4, seed=2)]
    table = paired_table({"A": a, "B": b})  # by image: +2, +1, 0, -1 of two seeds
    assert table.rows[0].cells == ["B", f"-25.00, p {exact(2, 1):.2g}"]


def test_images_that_are_not_known_to_be_the_same_share_no_outcomes() -> None:
    """Two reports of notebooks, which do not say what they were judged on."""
    one, other = report([1] * 4, [1, 1, 0, 0]), report([1] * 4, [0, 0, 1, 0])
    assert discordant_share([one], [other], "Worst case") == 75.0
    assert discordant_share([one], [report([1] * 3, [0, 0, 1], images="other")], "Worst case") is None
    for unknown in (one, other):
        unknown["settings"] = {}
    assert discordant_share([one], [other], "Worst case") is None


def test_no_pair_is_lost_where_rows_have_other_seeds_and_the_caption_says_so() -> None:
    a, b = [report([1] * 40, [1] * 30 + [0] * 10, seed=0)], [report([1] * 40, [1] * 20 + [0] * 20, seed=1)]
    c = [report([1] * 40, [1] * 25 + [0] * 15, seed=seed) for seed in (0, 1)]
    table = paired_table({"A": a, "B": b, "C": c})
    p = holm([exact(5, 0), exact(5, 0)])
    assert table.head == ["", "A", "B"]
    assert [row.cells for row in table.rows] == [
        ["B", "", ""],
        ["C", f"-12.50, p {p[0]:.2g}", f"+12.50, p {p[1]:.2g}"],
    ]
    assert "Rows with other seeds are compared on those that both have" in table.caption
    assert "other seeds" not in paired_table({"A": a, "B": [report([1] * 40, [1] * 20 + [0] * 20)]}).caption


def test_trainings_that_do_not_tell_their_seed_are_all_compared() -> None:
    a = [report([1] * 4, right, seed="unknown") for right in ([1, 1, 1, 0], [1, 0, 0, 0])]
    b = [report([1] * 4, right, seed="unknown") for right in ([1, 1, 0, 0], [1, 1, 0, 0])]
    table = paired_table({"A": a, "B": b})  # by image: 0, +1, -1, 0 of two trainings
    assert table.rows[0].cells == ["B", f"+0.00, p {exact(1, 1):.2g}"]


def test_only_outcomes_of_the_same_images_are_compared() -> None:
    a = report([1] * 4, [1, 1, 0, 0])
    assert paired_table({"A": [a], "B": [report([1] * 4, [1, 0, 0, 0], images="other")]}) is None
    assert paired_table({"A": [a], "B": [report([1] * 4, [1, 0, 0, 0], seed=1)]}) is None
    old = report([1] * 4, [1, 0, 0, 0])
    del old["worst_case_outcomes"]
    assert outcomes_of(old, "Worst case") is None and paired_table({"A": [a], "B": [old]}) is None
    assert outcomes_of(a, "PGD").tolist() == [True, True, False, False] and outcomes_of(a, "AA") is None


def test_what_a_difference_takes() -> None:
    rows = {
        "A": [report([1] * 100, [1] * k + [0] * (100 - k), seed=i) for i, k in enumerate((40, 44))],
        "B": [report([1] * 100, [1] * k + [0] * (100 - k), seed=i) for i, k in enumerate((39, 43))],
        "C": [report([1] * 100, [1] * k + [0] * (100 - k), seed=i) for i, k in enumerate((10, 14))],
    }
    table = needed_table(rows)
    assert table.head == ["against A", "Worst case, difference", "deviation over seeds", "seeds", "images"]
    cells = {row.cells[0]: row.cells[1:] for row in table.rows}
    deviation = statistics.stdev([40, 44])
    assert cells["B"][:2] == ["-1.00", f"{deviation:.2f}"] and cells["C"][:2] == ["-30.00", f"{deviation:.2f}"]
    assert int(cells["C"][2]) <= 3 < int(cells["B"][2])  # two-sided t test: 16 s^2 / d^2 a side for many
    assert int(cells["B"][2]) == pytest.approx(16 * deviation**2, rel=0.05)
    assert int(cells["C"][3].replace(",", "")) < 60 < int(cells["B"][3].replace(",", ""))


def test_without_outcomes_the_images_are_a_lower_bound() -> None:
    rows = {"A": [report([1] * 100, [1] * 40 + [0] * 60)], "B": [report([1] * 100, [1] * 35 + [0] * 65)]}
    for several in rows.values():
        several[0].pop("worst_case_outcomes")
    (row,) = needed_table(rows).rows
    assert row.cells[:4] == ["B", "-5.00", "", "unknown: one seed"] and row.cells[4].startswith("at least ")


def test_rows_of_one_accuracy_do_not_differ() -> None:
    same = [report([1] * 10, [1] * 5 + [0] * 5, seed=seed) for seed in (0, 1)]
    (row,) = needed_table({"A": same, "B": same}).rows
    assert row.cells == ["B", "+0.00", "0.00", "no difference", "no difference"]
    assert needed_table({"A": same}) is None and needed_table({}) is None


def test_a_set_is_compared_by_the_attack_that_leaves_least() -> None:
    def set_report(fna: float, sma: float) -> dict[str, Any]:
        values = {"Clean": 40.0, "FNA": fna, "SMA": sma}
        return {"cell": ["mAP"], "columns": [{"name": n, "values": {"mAP": v}} for n, v in values.items()], "images": 9}

    rows = {"A": [set_report(4.0, 9.0), set_report(6.0, 9.0)], "B": [set_report(3.0, 1.0), set_report(3.0, 1.0)]}
    assert headline(rows) == "FNA"
    rows["C"] = [set_report(9.0, 1.0), set_report(9.0, 1.0)]
    assert headline(rows) == "SMA"
    assert needed_table(rows).head[-1] == "seeds" and paired_table(rows) is None
