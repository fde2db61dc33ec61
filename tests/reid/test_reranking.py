"""k-reciprocal re-ranking against the definitions of the paper, its memory, and its place in the metric."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from natx.errors import ConfigError
from natx.registry import METRICS
from tasks.reid.metrics import Retrieval
from tasks.reid.ranking import Protocol
from tasks.reid.reranking import KReciprocal


def people(seed: int, *, queries: int = 9, gallery: int = 40, identities: int = 7) -> tuple[Tensor, Tensor]:
    """Features of some people: each near a centre, queries first."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(identities, 8))
    features = centres[rng.integers(identities, size=queries + gallery)] + rng.normal(size=(queries + gallery, 8)) * 0.6
    return torch.tensor(features[:queries]).float(), torch.tensor(features[queries:]).float()


def plainly(query: Tensor, gallery: Tensor, *, k1: int, k2: int, weight: float, normalise: bool) -> np.ndarray:
    """Zhong et al. 2017, equations 2 to 12, with all matrices whole and sets as the paper writes them."""
    f = torch.cat([query, gallery]).double().numpy()
    f = f / np.linalg.norm(f, axis=1, keepdims=True) if normalise else f
    count, first = len(f), len(query)
    original = ((f[:, None] - f[None]) ** 2).sum(2)
    original = original / original.max(1, keepdims=True)
    order = np.argsort(original, axis=1, kind="stable")

    def reciprocal(p: int, k: int) -> set[int]:  # R(p, k); an image is its own nearest
        return {g for g in order[p, : k + 1] if p in order[g, : k + 1]}

    encoding = np.zeros((count, count))
    for p in range(count):
        near = reciprocal(p, k1)
        expanded = set(near)
        for q in near:
            half = reciprocal(q, round(k1 / 2))
            if len(near & half) > 2 / 3 * len(half):  # the code's > for the paper's >=
                expanded |= half
        for g in expanded:
            encoding[p, g] = np.exp(-original[p, g])
        encoding[p] /= encoding[p].sum()  # the code's normalisation, which makes the larger sum 2 - the smaller
    encoding = np.stack([encoding[order[p, :k2]].mean(0) for p in range(count)])
    distances = np.empty((first, count - first))
    for p in range(first):
        for g in range(first, count):
            smaller, larger = (side(encoding[p], encoding[g]).sum() for side in (np.minimum, np.maximum))
            distances[p, g - first] = (1 - weight) * (1 - smaller / larger) + weight * original[p, g]
    return distances


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize(("k1", "k2", "weight"), [(20, 6, 0.3), (7, 3, 0.5), (5, 1, 0.0), (1, 1, 1.0), (60, 6, 0.3)])
def test_distances_are_those_of_the_paper(k1: int, k2: int, weight: float, normalise: bool) -> None:
    for seed in range(3):
        query, gallery = people(seed)
        expected = plainly(query, gallery, k1=k1, k2=k2, weight=weight, normalise=normalise)
        for block in (1, 7, 256):
            settings = KReciprocal(k1, k2, weight)
            distances = np.stack(list(settings.rows(query, gallery, normalise=normalise, block=block)))
            np.testing.assert_allclose(distances, expected, atol=2e-5)


def test_memory_is_far_below_that_of_all_distances() -> None:
    query, gallery = people(0, queries=100, gallery=3000, identities=300)
    tracemalloc.start()
    try:
        for _ in KReciprocal().rows(query, gallery, normalise=True, block=50):
            pass
        arrays = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert arrays < 3100 * 3100 * 4 * 0.75  # encodings grow with the images, distances with their square


class Street:
    """A test set with queries, gallery and junk."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.labels = torch.from_numpy(rng.integers(1, 6, 60))
        self.cameras = torch.from_numpy(rng.integers(3, size=60))
        self.queries, self.gallery = torch.arange(10), torch.arange(10, 60)
        self.labels[50:53] = -1
        centres = rng.normal(size=(7, 8))
        self.features = torch.tensor(centres[self.labels.numpy()] + rng.normal(size=(60, 8)) * 0.8).float()


def average_precision(distances: np.ndarray, data: Street) -> float:
    """mAP by sorting each row, without junk and the query's own camera."""
    keep = [g for g in data.gallery.tolist() if data.labels[g] != -1]
    values = []
    for q, row in zip(data.queries.tolist(), distances):
        order = [keep[i] for i in np.argsort(row, kind="stable")]
        seen = [data.labels[g] == data.labels[q] for g in order if (data.labels[g], data.cameras[g]) != pair(data, q)]
        hits = np.flatnonzero(np.array(seen)) + 1
        if len(hits):
            values.append(np.mean(np.arange(1, len(hits) + 1) / hits))
    return 100 * float(np.mean(values))


def pair(data: Street, q: int) -> tuple[Tensor, Tensor]:
    return data.labels[q], data.cameras[q]


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_the_metric_reports_it_beside_the_plain_values(distance: str) -> None:
    data = Street(0)
    plain = Retrieval(distance)(data.features, data)
    values = METRICS.build(dict(type="Retrieval", distance=distance, rerank=dict(k1=8, k2=3)))(data.features, data)
    assert {key: values[key] for key in plain} == plain
    assert set(values) == {*plain, *(f"{key} re-ranked" for key in plain)}
    keep = data.gallery[data.labels[data.gallery] != -1]
    distances = plainly(data.features[:10], data.features[keep], k1=8, k2=3, weight=0.3, normalise=distance == "cosine")
    assert values["mAP re-ranked"] == pytest.approx(average_precision(distances, data), abs=0.05)
    assert Retrieval(rerank=True).rerank == KReciprocal(20, 6, 0.3)


def test_queries_without_features_find_nothing_in_it_either() -> None:
    data = Street(1)
    data.features[3] = torch.nan
    metric = Retrieval(rerank=True)
    values = metric(data.features, data)
    assert values["mAP re-ranked"] < 100 and np.isfinite(list(values.values())).all()
    ranking = metric._reranking(data.features, data)
    assert ranking.precision[3] == 0 and ranking.first[3] == len(data.gallery) + 1


def test_a_model_that_gives_every_image_the_same_features_is_ranked() -> None:
    data = Street(2)
    values = Retrieval(rerank={"k1": 4, "k2": 2})(torch.ones(60, 8), data)
    assert all(0 <= value <= 100 for value in values.values())


def test_a_perfect_gallery_stays_perfect() -> None:
    centres = torch.eye(4).repeat_interleave(3, 0)
    seen: dict[str, Any] = {"query_ids": [0, 1, 2, 3], "query_cameras": [0] * 4}
    protocol = Protocol(**seen, gallery_ids=torch.arange(4).repeat_interleave(3), gallery_cameras=torch.ones(12))
    ranking = KReciprocal(k1=3, k2=2).ranking(torch.eye(4), centres, protocol, distance="euclidean")
    assert ranking.values()["mAP"] == 100.0


@pytest.mark.parametrize("settings", [{"k1": 0}, {"k2": 0}, {"k1": 3, "k2": 5}, {"weight": 1.5}, {"weight": -0.1}])
def test_settings_out_of_range(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="re-ranking needs"):
        KReciprocal(**settings)
