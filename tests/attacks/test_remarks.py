"""Remarks of several blocks become one list, and what Square broke a number of images of the whole set."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from scipy.stats import binom
from torch import Tensor, nn

from natx.attacks import PGD, AutoAttack
from natx.attacks.base import Attacked
from natx.attacks.remarks import FAINT, merged, square_broke
from natx.checks import CHECKS, Verdict
from natx.evaluation import Evaluation, evaluate
from natx.evaluation.robust import AttackResult
from natx.testing import LinearTask, TinyDataset, WrappedTask
from natx.threat import Linf

BROKE = "images that Square broke after the gradient attacks: {}"
RANDOM = "it seems to be a randomized defense!"


def test_a_text_is_told_once_and_counts_are_added_up() -> None:
    blocks = [["b", BROKE.format(1)], [], ["a", "b"], [BROKE.format(12), "c"], ["a", BROKE.format(0)]]
    assert merged(blocks) == ["b", BROKE.format(13), "a", "c"]  # in order of first appearance
    assert merged([]) == merged([[], []]) == []


def test_texts_that_only_look_like_a_count_stay_as_they_are() -> None:
    odd = ["12 images", BROKE.format("many"), f"see: {BROKE.format(3)}", BROKE.format("3 of 4"), BROKE.format("-1")]
    assert merged([odd, odd]) == odd and square_broke(odd) == 0


def test_a_list_that_grows_block_by_block_ends_as_all_blocks_at_once() -> None:
    blocks = [["a", BROKE.format(2)], [BROKE.format(5)], ["b", "a"], [BROKE.format(1), "b"]]
    whole = merged(blocks)
    assert square_broke(whole) == 8 == square_broke([*whole, f"{FAINT}3"])
    for order in itertools.permutations(blocks):
        grown: list[str] = []
        for block in order:
            grown = merged((grown, block))
        assert grown == merged(order) and sorted(grown) == sorted(whole)
        halves = merged(merged(half) for half in (order[:2], order[2:]))  # as two processes do
        assert halves == grown


class Telling(PGD):
    """Remarks on its blocks: how many of their images have an even index, and one text for all."""

    block_size = 4

    def run_judged(self, victim: Any, *, success: str) -> Attacked:
        found = super().run_judged(victim, success=success)
        even = sum(i % 2 == 0 for i in victim.batch["index"].tolist())
        return Attacked(found.x_adv, found.broken, notes=[RANDOM, BROKE.format(even)])


def test_an_evaluation_tells_them_over_all_blocks() -> None:
    found = evaluate(LinearTask(torch.eye(4, 9).tolist()), dataset(10), [Telling(Linf(0.1), 4)])
    assert found.attacks[1].notes == [RANDOM, BROKE.format(5)]


def dataset(count: int) -> TinyDataset:
    return TinyDataset(count, num_classes=4, shape=(1, 3, 3))


# What Square breaks, by the library itself.

EPS = 0.05
WRONG, WEAK, STRONG = 0.25, 0.5, 0.75  # levels of grey images: wrong without attack, broken by Square, never broken


class Corners(nn.Module):
    """Four classes; grey images of level 1/2 are of class 0 until nearly all pixels are changed by about eps.

    Levels are found by rounding, so nothing has a gradient: attacks that follow one stay at their random start, of
    which a tenth of the pixels are that far out, while Square's first guess changes every pixel by eps. Images of
    level 1/4 are always of class 1, of level 3/4 always of class 0.
    """

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        level = (4 * x.flatten(1).mean(1)).round() / 4
        change = (x.flatten(1) - level[:, None]).abs()
        outside = ((change > 0.9 * EPS) & (change < 1.1 * EPS)).float().mean(1) > 0.9
        wrong = (level < 0.4) | ((level < 0.6) & outside)
        logits = torch.stack([~wrong, wrong, wrong & False, wrong & False], 1).to(x.dtype)
        return self.scale * logits + 0 * x.flatten(1).sum(1, keepdim=True)  # a gradient that is there, and zero


class Grey:
    """Grey images 1x4x4 of class 0 of the given levels."""

    num_classes = 4

    def __init__(self, levels: list[float]) -> None:
        self.images = torch.tensor(levels)[:, None, None, None].expand(-1, 1, 4, 4).contiguous()

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, rows: Any) -> dict[str, Tensor]:
        rows = torch.as_tensor(rows)
        return {"inputs": self.images[rows], "data_samples": torch.zeros(len(rows), dtype=torch.int64), "index": rows}


def test_autoattack_says_how_many_images_square_broke_of_all_blocks() -> None:
    """Blocks of four images, of which Square breaks 1, 3, none (none are right) and none (one stays right)."""
    levels = [WRONG, WEAK, WRONG, WRONG, WEAK, WRONG, WEAK, WEAK, *[WRONG] * 4, WRONG, STRONG]
    found = evaluate(WrappedTask(Corners(), 4).eval(), Grey(levels), [AutoAttack(Linf(EPS), block_size=4)])
    assert found.correct["Clean"].tolist() == [level > WRONG for level in levels]
    assert found.correct["AA"].tolist() == [level == STRONG for level in levels]
    notes = found.attacks[1].notes
    assert [note for note in notes if "Square" in note] == [BROKE.format(4)]
    assert len(set(notes)) == len(notes) and square_broke(notes) == 4
    verdict = asked("AA-SQUARE", found)
    assert verdict.verdict == "red" and verdict.figure == pytest.approx(100 * 4 / len(levels))


# AutoAttack's flags, on remarks made up.


class _Case:
    """As much of a case as the flags look at."""

    def __init__(self, evaluation: Evaluation | None) -> None:
        self.evaluation, self.task = evaluation, LinearTask(torch.eye(10, 12))


def asked(check: str, evaluation: Evaluation | None) -> Verdict:
    [one] = [c for c in CHECKS if c.id == check]
    return one(_Case(evaluation))


def outcomes(*attacks: tuple[dict[str, Any], list[str]], count: int = 1000) -> Evaluation:
    """An evaluation of attacks (settings, remarks) that broke nothing."""
    results = [AttackResult(settings, [str(i)], notes=notes) for i, (settings, notes) in enumerate(attacks)]
    return Evaluation({"Clean": torch.ones(count, dtype=torch.bool)}, results, "any")


AA = {"type": "AutoAttack"}


@pytest.mark.parametrize("count", [20, 250, 1000, 10_000])
def test_square_is_needed_where_chance_does_not_explain_what_it_broke(count: int) -> None:
    """Red from the fewest images that a share of 0.2 points gives with a probability of at most 5 % / 17."""
    limit = next(k for k in range(count + 1) if binom.sf(k - 1, count, 0.002) <= 0.05 / 17)
    for broken, verdict in ((0, "green"), (1, "green"), (limit - 1, "green"), (limit, "red")):
        notes = [RANDOM, BROKE.format(broken)] if broken else []
        found = asked("AA-SQUARE", outcomes((AA, notes), count=count))
        assert (found.verdict, found.figure) == (verdict, pytest.approx(100 * broken / count)), found.reason
        assert (found.threshold, found.unit) == (pytest.approx(100 * limit / count), "points")
        assert found.reason.startswith(f"Square broke {broken} of {count} images after the gradient attacks")


def test_the_worse_of_two_autoattacks_counts_and_square_alone_is_no_autoattack() -> None:
    two = outcomes((AA, [BROKE.format(1)]), (AA, [BROKE.format(5)]))
    assert asked("AA-SQUARE", two).figure == pytest.approx(0.5)
    for nothing in (None, outcomes(({"type": "Square"}, [])), outcomes(({"type": "APGD"}, []))):
        found = asked("AA-SQUARE", nothing)
        assert (found.verdict, found.reason) == ("not applicable", "AutoAttack was not run")


ZERO = "there are 3 points with zero gradient! This might lead to unreliable evaluation"


@pytest.mark.parametrize("settings", [AA, {"type": "APGD", "loss": "dlr"}, {"type": "APGD", "loss": "targeted"}])
def test_zero_gradients_are_asked_of_attacks_on_the_dlr_loss(settings: dict[str, Any]) -> None:
    assert asked("AA-GRAD", outcomes((settings, []))).verdict == "green"
    found = asked("AA-GRAD", outcomes(({"type": "APGD", "loss": "ce"}, []), (settings, [ZERO])))
    assert (found.verdict, found.figure) == ("red", 1)


def test_zero_gradients_are_not_asked_where_no_dlr_loss_was_attacked() -> None:
    """The library looks at the gradient of DLR losses only: its silence on the cross-entropy says nothing."""
    for attacks in ((), (({"type": "APGD", "loss": "ce"}, []),), (({"type": "Square"}, []),)):
        found = asked("AA-GRAD", outcomes(*attacks))
        assert found.verdict == "not applicable" and "no attack on the DLR loss" in found.reason
    assert asked("AA-GRAD", None).verdict == "not applicable"
