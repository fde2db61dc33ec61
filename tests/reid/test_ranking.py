from __future__ import annotations

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torchreid.reid.metrics import compute_distance_matrix, evaluate_rank

from natx.errors import ConfigError, DataError
from tasks.reid import ranking
from tasks.reid.ranking import Ranking, rank, retrieve

DISTANCES = ("cosine", "euclidean")


def labels(seed: int, *, queries: int, gallery: int, identities: int, cameras: int = 4) -> dict[str, np.ndarray]:
    """Identities from 1 for queries, from 0 (distractors) for the gallery; the first query has a match."""
    rng = np.random.default_rng(seed)
    drawn = {
        "query_ids": rng.integers(1, identities + 1, queries),
        "query_cameras": rng.integers(cameras, size=queries),
        "gallery_ids": rng.integers(identities + 1, size=gallery),
        "gallery_cameras": rng.integers(cameras, size=gallery),
    }
    drawn["gallery_ids"][-1] = drawn["query_ids"][0]
    drawn["gallery_cameras"][-1] = (drawn["query_cameras"][0] + 1) % cameras
    return drawn


def stable(distances: Any, seen: dict[str, Any]) -> tuple[list[float], list[int]]:
    """Average precision (NaN: no match) and rank of the first right image by a stable argsort of each whole row."""
    precision, first = [], []
    for row, identity, camera in zip(np.asarray(distances), seen["query_ids"], seen["query_cameras"]):
        order = np.argsort(row, kind="stable")
        ids, cameras = np.asarray(seen["gallery_ids"])[order], np.asarray(seen["gallery_cameras"])[order]
        right = (ids == identity)[(ids != -1) & ~((ids == identity) & (cameras == camera))]
        hits = np.flatnonzero(right) + 1
        precision.append(np.mean([(i + 1) / hit for i, hit in enumerate(hits)]) if len(hits) else math.nan)
        first.append(int(hits[0]) if len(hits) else 0)
    return precision, first


def assert_same(found: Ranking, expected: tuple[list[float], list[int]]) -> None:
    np.testing.assert_allclose(found.precision, expected[0], rtol=1e-12)
    assert found.first.tolist() == expected[1]


def torchreid_values(distances: Tensor, seen: dict[str, np.ndarray]) -> dict[str, float]:
    """mAP and those Rank-k that torchreid can give: it needs k images for every query after those left out."""
    own = [seen[f"query_{of}"][:, None] == seen[f"gallery_{of}"] for of in ("ids", "cameras")]
    most = min(10, distances.shape[1] - int((own[0] & own[1]).sum(1).max()))
    names = ("query_ids", "gallery_ids", "query_cameras", "gallery_cameras")
    cmc, mean = evaluate_rank(distances.numpy(), *(seen[n] for n in names), max_rank=most, use_cython=False)
    return {"mAP": 100 * mean} | {f"Rank-{k}": 100 * float(cmc[k - 1]) for k in (1, 5, 10) if k <= most}


def clear_features(seed: int, *, queries: int, gallery: int, distance: str) -> tuple[Tensor, Tensor, Tensor]:
    """Features of which no two distances of a query are so near that rounding decides, and torchreid's distances."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        q, g = (torch.randn(count, 16, generator=generator) for count in (queries, gallery))
        distances = compute_distance_matrix(q, g, distance)
        if gallery == 1 or float(distances.sort(1).values.diff(dim=1).min()) > 1e-6 * float(distances.max()):
            return q, g, distances


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize(
    ("queries", "gallery", "identities", "cameras"),
    [(1, 1, 1, 2), (1, 2, 1, 2), (5, 9, 3, 2), (12, 40, 5, 3), (20, 60, 30, 6), (10, 80, 1, 2), (30, 100, 8, 6)],
)
def test_values_equal_torchreid(queries: int, gallery: int, identities: int, cameras: int, distance: str) -> None:
    for seed in range(6):
        seen = labels(seed, queries=queries, gallery=gallery, identities=identities, cameras=cameras)
        q, g, distances = clear_features(seed, queries=queries, gallery=gallery, distance=distance)
        expected = torchreid_values(distances, seen)
        found = [rank(distances, **seen).values()]
        found += [retrieve(q, g, **seen, distance=distance, block=block).values() for block in (1, 7, 256)]
        for values in found:
            assert {key: values[key] for key in expected} == pytest.approx(expected, abs=1e-5)  # of 100: 1e-7


def test_one_query_by_hand() -> None:
    seen = {
        "query_ids": [1],
        "query_cameras": [1],
        "gallery_ids": [1, 2, 1, -1, 1],
        "gallery_cameras": [1, 1, 2, 2, 3],
    }
    distances = np.array([[0.1, 0.3, 0.4, 0.2, 0.5]], np.float32)
    # Left out: the first (its own camera) and the fourth (junk). What remains is wrong, right, right.
    found = rank(distances, **seen, top=5)
    assert found.precision.tolist() == [pytest.approx((1 / 2 + 2 / 3) / 2)]
    assert found.first.tolist() == [2] and found.best.tolist() == [[1, 2, 4, -1, -1]]
    assert found.hardest.tolist() == [2 / 3]  # both right images are there at rank 3
    expected = {"mAP": pytest.approx(100 * 7 / 12), "Rank-1": 0, "Rank-5": 100, "Rank-10": 100}
    expected["mINP"] = pytest.approx(100 * 2 / 3)
    assert found.values() == expected
    assert distances.tolist() == [[pytest.approx(x) for x in (0.1, 0.3, 0.4, 0.2, 0.5)]]


def test_a_query_without_a_match_is_left_out_and_counted() -> None:
    seen = {"query_ids": [1, 2, 3], "query_cameras": [1, 1, 1], "gallery_ids": [0, 1, 2], "gallery_cameras": [2, 2, 1]}
    found = rank([[0.1, 0.2, 0.3]] * 3, **seen, top=2)
    assert found.matched.tolist() == [True, False, False] and found.excluded == 2
    assert found.precision[0] == 0.5 and np.isnan(found.precision[1:]).all() and found.first.tolist() == [2, 0, 0]
    assert found.values() == {"mAP": 50.0, "Rank-1": 0.0, "Rank-5": 100.0, "Rank-10": 100.0, "mINP": 50.0}
    assert found.best.tolist() == [[0, 1], [0, 1], [0, 1]]  # of the second, the third image is left out
    with pytest.raises(DataError, match="none of 3 queries") as caught:
        rank([[0.1, 0.2, 0.3]] * 3, **{**seen, "query_ids": [7, 7, 7]}).values()
    assert "\n" not in str(caught.value)


def test_a_gallery_of_fewer_images_than_ranks() -> None:
    """Rank-10 of two images is what is found at all."""
    seen = {"query_ids": [1, 2], "query_cameras": [1, 1], "gallery_ids": [2, 1], "gallery_cameras": [2, 2]}
    found = rank([[1, 2], [1, 2]], **seen, top=5)
    assert found.values() == {"mAP": 75.0, "Rank-1": 50.0, "Rank-5": 100.0, "Rank-10": 100.0, "mINP": 75.0}
    assert found.best.tolist() == [[0, 1, -1, -1, -1]] * 2


def test_ks_are_the_callers() -> None:
    seen = {"query_ids": [1], "query_cameras": [1], "gallery_ids": [0, 0, 1], "gallery_cameras": [2, 2, 2]}
    assert rank([[1, 2, 3]], **seen, ks=(2, 3)).values() == {
        "mAP": pytest.approx(100 / 3),
        "Rank-2": 0.0,
        "Rank-3": 100.0,
        "mINP": pytest.approx(100 / 3),
    }


def test_minp_is_how_many_images_it_takes_to_have_all_right_ones() -> None:
    for seed in range(5):
        seen = labels(seed, queries=12, gallery=60, identities=5)
        distances = np.random.default_rng(seed).random((12, 60))
        penalties = []
        for row, identity, camera in zip(distances, seen["query_ids"], seen["query_cameras"]):
            same, own = seen["gallery_ids"] == identity, seen["gallery_cameras"] == camera
            ranked = [bool(same[g]) for g in np.argsort(row, kind="stable") if not (same[g] and own[g])]
            if any(ranked):
                hardest = max(place for place, right in enumerate(ranked, 1) if right)
                penalties.append((hardest - sum(ranked)) / hardest)  # Ye et al., equation 4: NP
        found = rank(distances, **seen).values()["mINP"]
        assert found == pytest.approx(100 * np.mean([1 - penalty for penalty in penalties]))


@pytest.mark.parametrize("counted", [0, ranking.COUNTED, 1000], ids=["sort", "default", "count"])
@pytest.mark.parametrize("values", [1, 2, 5, 1000])
@pytest.mark.parametrize("identities", [1, 3, 40])
def test_ties_are_a_stable_sorts(identities: int, values: int, counted: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "COUNTED", counted)
    for seed in range(3):
        seen = labels(seed, queries=15, gallery=150, identities=identities)
        rng = np.random.default_rng(seed)
        seen["gallery_ids"][rng.integers(149, size=10)] = -1
        distances = rng.integers(values, size=(15, 150)).astype(np.float32) / 8
        found = rank(distances, **seen, top=6)
        assert_same(found, stable(distances, seen))
        for row, best, identity, camera in zip(distances, found.best, seen["query_ids"], seen["query_cameras"]):
            own = (seen["gallery_ids"] == identity) & (seen["gallery_cameras"] == camera)
            order = [at for at in np.argsort(row, kind="stable") if not own[at] and seen["gallery_ids"][at] != -1]
            assert best.tolist() == order[:6]


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("block", [1, 4, 256])
def test_constant_features_score_as_the_order_of_the_gallery(block: int, distance: str) -> None:
    seen = labels(0, queries=9, gallery=120, identities=4)
    found = retrieve(torch.ones(9, 16), torch.ones(120, 16), **seen, distance=distance, block=block)
    assert_same(found, stable(np.zeros((9, 120)), seen))


def test_the_block_size_changes_nothing() -> None:
    """Distances of small whole numbers are exact in whatever order they are summed, and many of them are equal."""
    generator = torch.Generator().manual_seed(0)
    q, g = (torch.randint(-3, 4, (count, 5), generator=generator).float() for count in (23, 200))
    seen = labels(0, queries=23, gallery=200, identities=6)
    expected = stable((q[:, None] - g[None]).square().sum(2), seen)
    for block in (1, 2, 5, 22, 23, 24, 1000):
        assert_same(retrieve(q, g, **seen, distance="euclidean", block=block), expected)


def test_junk_takes_no_part() -> None:
    generator = torch.Generator().manual_seed(0)
    q, g = (torch.randint(-3, 4, (count, 5), generator=generator).float() for count in (10, 60))
    seen = labels(1, queries=10, gallery=60, identities=4)
    junk = torch.arange(0, 59, 3)
    seen["gallery_ids"][junk] = -1
    g[junk] = math.nan
    found = retrieve(q, g, **seen, distance="euclidean", top=4)
    assert_same(found, stable((q[:, None] - g[None]).square().sum(2), seen))
    assert not np.isin(found.best, junk).any()


def test_tensors_arrays_and_lists_are_labels() -> None:
    seen = labels(0, queries=4, gallery=20, identities=3)
    distances = torch.rand(4, 20, generator=torch.Generator().manual_seed(0))
    expected = rank(distances, **seen).values()
    assert rank(distances.numpy(), **{k: torch.from_numpy(v) for k, v in seen.items()}).values() == expected
    assert rank(distances.double(), **{k: v.tolist() for k, v in seen.items()}).values() == expected


def test_half_precision_features_are_compared_in_fp32() -> None:
    generator = torch.Generator().manual_seed(0)
    q, g = torch.randn(6, 64, generator=generator).bfloat16(), torch.randn(50, 64, generator=generator).bfloat16()
    seen = labels(0, queries=6, gallery=50, identities=3)
    with torch.autocast("cpu", torch.bfloat16):
        found = retrieve(q, g, **seen)
    assert_same(found, stable(compute_distance_matrix(q.float(), g.float(), "cosine"), seen))


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30])
def test_features_that_are_not_finite_are_an_error(value: float, side: int, distance: str) -> None:
    seen = labels(0, queries=5, gallery=30, identities=3)
    features = [torch.ones(5, 8), torch.ones(30, 8)]
    features[side][3, 2] = value
    with pytest.raises(DataError, match=f"1 of {len(features[side])} {('query', 'gallery')[side]} features") as caught:
        retrieve(*features, **seen, distance=distance)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_distances_that_are_not_finite_are_an_error(value: float) -> None:
    seen = labels(0, queries=5, gallery=30, identities=3)
    distances = np.ones((5, 30))
    distances[2, 7] = value
    with pytest.raises(DataError, match="a distance of query 2 is NaN or infinite"):
        rank(distances, **seen)


def test_squares_that_overflow_only_in_the_sum_are_an_error() -> None:
    seen = labels(0, queries=2, gallery=5, identities=1)
    with pytest.raises(DataError, match="a distance of query 0"):
        retrieve(torch.full((2, 1), 1.5e19), torch.full((5, 1), -1.5e19), **seen, distance="euclidean")


def test_wrong_shapes_and_settings_are_errors() -> None:
    seen = labels(0, queries=4, gallery=20, identities=3)
    q, g = torch.ones(4, 8), torch.ones(20, 8)
    for features in ((q[:3], g), (q, g[:3]), (q, g[:, :3]), (q[0], g)):
        with pytest.raises(DataError, match=r"features must be \[4, D\] of the queries and \[20, D\]"):
            retrieve(*features, **seen)
    with pytest.raises(DataError, match=r"\[4, 20\]; got \[4, 19\]"):
        rank(torch.ones(4, 19), **seen)
    with pytest.raises(DataError, match="gallery identities and cameras"):
        rank(torch.ones(4, 20), **{**seen, "gallery_cameras": seen["gallery_cameras"][1:]})
    for empty in ({"gallery_ids": [-1] * 20}, {"query_ids": [], "query_cameras": []}):
        with pytest.raises(DataError, match="nothing to rank"):
            retrieve(q, g, **{**seen, **empty})
    with pytest.raises(ConfigError, match="cosine, euclidean"):
        retrieve(q, g, **seen, distance="manhattan")
    with pytest.raises(ConfigError, match="at least 1 query; got 0"):
        retrieve(q, g, **seen, block=0)


class Largest(TorchDispatchMode):
    """Records the largest tensor that any operation makes, and the fewest rows of a matrix product."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers, self.rows = 0, 10**9

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves(made) if isinstance(leaf, Tensor)]
        self.numbers = max([self.numbers, *(tensor.numel() for tensor in tensors)])
        if func in (torch.ops.aten.mm.default, torch.ops.aten.addmm_.default):
            self.rows = min(self.rows, made.shape[0])
        return made


@pytest.mark.parametrize("distance", DISTANCES)
def test_memory_is_bound_by_the_block(distance: str) -> None:
    queries, gallery, block = 601, 1000, 20
    generator = torch.Generator().manual_seed(0)
    features = [torch.randn(count, 8, generator=generator) for count in (queries, gallery)]
    seen = labels(0, queries=queries, gallery=gallery, identities=50)
    tracemalloc.start()
    try:
        with Largest() as largest:
            retrieve(*features, **seen, distance=distance, block=block)
        arrays = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert largest.numbers <= block * gallery
    assert arrays < queries * gallery  # bytes: a quarter of all distances
    assert largest.rows == ranking.LEAST_ROWS  # the last block is one query


def test_values_are_percentages() -> None:
    for seed in range(20):
        seen = labels(seed, queries=8, gallery=3 + seed, identities=3)
        values = rank(np.random.default_rng(seed).random((8, 3 + seed)), **seen).values()
        assert all(0 <= value <= 100 for value in values.values())
        assert values["Rank-1"] <= values["Rank-5"] <= values["Rank-10"]
    seen = labels(0, queries=8, gallery=50, identities=3)
    perfect = (seen["query_ids"][:, None] != seen["gallery_ids"]).astype(np.float32)
    assert set(rank(perfect, **seen).values().values()) == {100.0}
