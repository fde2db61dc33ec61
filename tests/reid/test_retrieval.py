from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchreid.reid.metrics import compute_distance_matrix, evaluate_rank

from natx.errors import ConfigError, DataError
from natx.registry import METRICS
from tasks.reid.metrics import Retrieval
from tasks.reid.picture import Portrait, Search, draw_searches

MAGENTA, CYAN, YELLOW, WHITE = (200, 0, 220), (0, 210, 190), (255, 255, 0), (255, 255, 255)


class Pedestrians:
    """A test set whose queries and gallery lie anywhere among the images; each image has one colour."""

    def __init__(self, labels: list[int], cameras: list[int], queries: list[int], gallery: list[int]) -> None:
        self.labels, self.cameras = torch.tensor(labels), torch.tensor(cameras)
        self.queries, self.gallery = torch.tensor(queries), torch.tensor(gallery)
        self.colours: dict[int, tuple[int, int, int]] = {}

    def __getitems__(self, positions: list[int]) -> dict[str, Tensor]:
        colours = torch.tensor([self.colours.get(i, WHITE) for i in positions], dtype=torch.uint8)
        return {"inputs": colours[:, :, None, None].expand(-1, -1, 32, 16)}


def shuffled(seed: int, *, queries: int = 12, gallery: int = 60, other: int = 8) -> Pedestrians:
    rng = np.random.default_rng(seed)
    count = queries + gallery + other
    order = rng.permutation(count).tolist()
    labels, cameras = rng.integers(6, size=count), rng.integers(4, size=count)
    return Pedestrians(labels.tolist(), cameras.tolist(), order[:queries], order[queries : queries + gallery])


def small() -> Pedestrians:
    """Queries of identities 4, 7 and 9; only that of 4 has a match (position 4, of another camera)."""
    return Pedestrians(
        labels=[4, 7, 9, 4, 4, 7, 0, -1], cameras=[1, 1, 2, 1, 2, 1, 3, 3], queries=[0, 1, 2], gallery=[3, 4, 5, 6, 7]
    )


def pixels_of(path: Path, colour: tuple[int, int, int]) -> int:
    return int((np.asarray(Image.open(path).convert("RGB")) == colour).all(2).sum())


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_values_equal_torchreid(distance: str) -> None:
    for seed in range(5):
        data = shuffled(seed)
        features = torch.randn(len(data.labels), 32, generator=torch.Generator().manual_seed(seed))
        distances = compute_distance_matrix(features[data.queries], features[data.gallery], distance).numpy()
        seen = [values[at].numpy() for values in (data.labels, data.cameras) for at in (data.queries, data.gallery)]
        cmc, mean = evaluate_rank(distances, *seen, max_rank=10, use_cython=False)
        expected = {"mAP": 100 * mean} | {f"Rank-{k}": 100 * float(cmc[k - 1]) for k in (1, 5, 10)}
        found = METRICS.build(dict(type="Retrieval", distance=distance, block=5))(features, data)
        assert found.pop("mINP") > 0  # torchreid has none
        assert found == pytest.approx(expected, abs=1e-5) and set(Retrieval.cell) < set(found)


def test_settings_and_predictions_that_do_not_fit_are_errors() -> None:
    with pytest.raises(ConfigError, match="cosine, euclidean; got 'hamming'"):
        METRICS.build(dict(type="Retrieval", distance="hamming"))
    with pytest.raises(ConfigError, match="at least 1 query; got 0"):
        Retrieval(block=0)
    for predictions in (torch.ones(7, 3), torch.ones(8)):
        with pytest.raises(DataError, match="each of 8 images"):
            Retrieval()(predictions, small())
    broken = torch.ones(8, 3)
    broken[5] = torch.nan
    with pytest.raises(DataError, match="1 of 4 gallery features are NaN"):
        Retrieval()(broken, small())
    lonely = small()
    lonely.queries = torch.tensor([1, 2])
    with pytest.raises(DataError, match="none of 2 queries"):
        Retrieval()(torch.ones(8, 3), lonely)


def test_notes_name_the_queries_without_a_match() -> None:
    data, end = small(), "of another camera in the gallery:"
    assert Retrieval().notes(data, None)[1:] == [
        f"2 of 3 queries (identities 7, 9) have no image {end} they are left out"
    ]
    data.queries = torch.tensor([0, 1])
    assert Retrieval().notes(data, None)[1:] == [f"1 of 2 queries (identity 7) has no image {end} it is left out"]
    data.queries = torch.tensor([0])
    assert Retrieval().notes(data, None)[1:] == []
    many = Pedestrians([1, *range(2, 10), 9, 1], [1] * 10 + [2], list(range(10)), [10])
    _, note = Retrieval().notes(many, None)
    assert note.startswith("9 of 10 queries (identities 2, 3, 4, 5, 6 and 3 more) have no image")
    many.queries = torch.arange(6)
    assert "(identities 2, 3, 4, 5, 6) have" in Retrieval().notes(many, None)[1]
    many.queries = torch.arange(7)
    assert "(identities 2, 3, 4, 5, 6 and 1 more) have" in Retrieval().notes(many, None)[1]


def test_the_first_note_says_what_chance_gives() -> None:
    """One right image among a hundred: on average over rankings, AP is the mean of 1/rank, and 1 in 100 comes first."""
    people = list(range(100, 200))
    data = Pedestrians([*people, *people], [1] * 100 + [2] * 100, list(range(100)), list(range(100, 200)))
    average = 100 * sum(1 / rank for rank in range(1, 101)) / 100
    note = f"a ranking at random gives mAP/Rank-1 of {average:.2f}/1.00 on average"
    assert Retrieval().notes(data, None) == [note]


def test_the_picture_shows_queries_as_seen_and_frames_what_is_found(tmp_path: Path) -> None:
    data = small()
    data.colours = {3: YELLOW, 4: CYAN, 7: YELLOW}  # yellow: left out, of the query's camera or junk
    data.queries = torch.tensor([0])
    pixels = torch.ones(1, 3, 32, 16)
    attacked = torch.tensor(MAGENTA).view(1, 3, 1, 1) / 255 * pixels
    path = tmp_path / "new" / "picture.png"
    features = torch.eye(8)
    columns = {"Clean": (features, pixels), "PGD-10": (features, attacked)}
    assert Retrieval().draw(path, data, positions=[0], columns=columns)
    image = Image.open(path)
    assert image.format == "PNG" and min(image.size) > 600
    assert not list(path.parent.glob(".*"))  # nothing unfinished
    one = pixels_of(path, MAGENTA)
    assert one > 100 * 200 and pixels_of(path, CYAN) == pytest.approx(2 * one, rel=0.05)  # in both rows
    assert pixels_of(path, YELLOW) == 0
    green, red = (0x1A, 0x8A, 0x1A), (0xD0, 0x1C, 0x1C)
    assert pixels_of(path, red) == pytest.approx(2 * pixels_of(path, green), rel=0.1)  # two wrong ones, one right


def test_the_picture_is_of_the_queries_at_the_positions_and_of_two_columns(tmp_path: Path) -> None:
    data = shuffled(0)
    generator = torch.Generator().manual_seed(0)
    first, second, third = torch.randn(3, len(data.labels), 8, generator=generator)
    pixels = torch.rand(4, 3, 32, 16, generator=generator)
    two = {"Clean": (first, pixels), "PGD-10": (second, pixels)}
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    metric = Retrieval()
    four = data.queries[:4].tolist()
    assert metric.draw(paths[0], data, positions=four, columns=two)
    assert metric.draw(paths[1], data, positions=four, columns={**two, "PGD-20": (third, pixels)})
    assert metric.draw(paths[2], data, positions=four, columns={"Clean": two["Clean"], "PGD-20": (third, pixels)})
    assert metric.draw(paths[3], data, positions=data.queries[2:6].tolist(), columns=two)
    contents = [path.read_bytes() for path in paths]
    assert contents[0] == contents[1] and len(set(contents)) == 3


def test_nothing_to_draw(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    assert not Retrieval().draw(path, small(), positions=[0], columns={})
    assert not Retrieval().draw(path, small(), positions=[], columns={"Clean": (torch.eye(8), [])})
    assert not path.exists()


def test_queries_that_find_nothing_are_drawn(tmp_path: Path) -> None:
    """One query whose only gallery images are left out, one whose images are fewer than the picture has room for."""
    data = Pedestrians([1, 2, 1, 1], [1, 1, 1, 1], queries=[0, 1], gallery=[2, 3])
    columns: dict[str, Any] = {name: (torch.eye(4), torch.ones(2, 3, 32, 16)) for name in ("Clean", "PGD-10")}
    assert Retrieval().draw(tmp_path / "picture.png", data, positions=[0, 1], columns=columns)


def test_searches_need_not_be_pairs_and_pixels_may_be_of_any_type(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shown = Portrait(torch.full((3, 8, 8), 1.5, dtype=torch.float64, requires_grad=True), identity=3, camera=1)
    groups = [[Search("alone", shown, [shown])], [Search("too", shown, [])], [Search("three", shown, [shown] * 3)]]
    draw_searches(tmp_path / "picture.png", groups)
    assert Image.open(tmp_path / "picture.png").height > 300
    assert not caplog.records  # matplotlib warns of pixels out of range


def test_attacked_queries_without_numbers_find_nothing() -> None:
    """Distances that are NaN could be in any order; a query with the worst rank there is leaves the others alone."""
    data = shuffled(3)
    features = torch.randn(len(data.labels), 16, generator=torch.Generator().manual_seed(3))
    ranking = Retrieval().ranking(features, data)
    spoilt = features.clone()
    rows = torch.tensor([0, 4])
    spoilt[data.queries[0]], spoilt[data.queries[4], 2] = torch.nan, torch.inf
    broken = Retrieval().ranking(spoilt, data)
    assert (broken.precision[rows] == 0).all() and (broken.first[rows] == len(data.gallery) + 1).all()
    rest = [i for i in range(len(data.queries)) if i not in (0, 4)]
    assert (broken.precision[rest] == ranking.precision[rest]).all() and (
        broken.first[rest] == ranking.first[rest]
    ).all()
    sums = ranking.precision.sum() - ranking.precision[rows].sum()
    assert broken.values()["mAP"] == pytest.approx(100 * sums / len(data.queries))
    alone = small()  # a query without a match stays out, whatever its features are
    features = torch.ones(8, 3)
    features[1] = torch.nan
    assert Retrieval().ranking(features, alone).excluded == 2
