"""What chance gives, against every order there is and against many draws."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest

from natx.errors import DataError
from tasks.reid.chance import chance
from tasks.reid.ranking import Protocol, rank


def people(**changes: Any) -> dict[str, Any]:
    """Queries with 1, 2 and 3 right images, some left out, beside distractors and junk."""
    seen = {
        "query_ids": [1, 2, 3, 9],
        "query_cameras": [1, 1, 2, 1],
        "gallery_ids": [1, 2, 2, 3, 3, 3, 0, -1, 1],
        "gallery_cameras": [2, 2, 3, 1, 1, 3, 1, 1, 1],
    }
    return seen | changes


def test_it_is_the_mean_over_all_orders() -> None:
    seen = people(gallery_ids=[1, 2, 2, 0, -1, 1, 3], gallery_cameras=[2, 2, 3, 1, 1, 1, 1])
    usable = [0, 1, 2, 3, 5, 6]
    values = []
    for order in permutations(range(6)):
        distances = np.zeros((4, 7))
        distances[:, usable] = order
        values.append(rank(distances, **seen).values())
    expected = {key: np.mean([value[key] for value in values]) for key in ("mAP", "Rank-1", "Rank-5", "Rank-10")}
    assert chance(Protocol(**seen)) == pytest.approx(expected)


def test_it_is_the_mean_over_many_draws() -> None:
    seen, rng = people(), np.random.default_rng(0)
    draws = [rank(rng.random((4, 9)), **seen).values() for _ in range(4000)]
    for key, value in chance(Protocol(**seen)).items():
        column = np.array([draw[key] for draw in draws])
        assert abs(value - column.mean()) <= 5 * column.std() / len(draws) ** 0.5


def test_the_first_rank_is_the_share_of_right_images() -> None:
    # Of eight images without junk, the first query ranks seven (one is of its own camera), the others eight and eight.
    assert chance(Protocol(**people()))["Rank-1"] == pytest.approx(100 * np.mean([1 / 7, 2 / 8, 3 / 8]))


def test_a_gallery_of_right_images_alone() -> None:
    seen = {"query_ids": [1], "query_cameras": [1], "gallery_ids": [1], "gallery_cameras": [2]}
    assert set(chance(Protocol(**seen)).values()) == {100.0}
    with pytest.raises(DataError, match="none of 1 queries"):
        chance(Protocol(**{**seen, "gallery_cameras": [1]}))
