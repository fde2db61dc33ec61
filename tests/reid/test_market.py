from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms

from natx.data import Part, hold_out, subset
from natx.errors import ConfigError, DataError, UserError
from natx.registry import DATASETS
from tasks.reid.datasets import Market1501, RetrievalImages, Shot, TrainingImages
from tasks.reid.datasets.images import pick_queries

TRAIN = (
    "0002_c1s1_000451_03.jpg",
    "0002_c1s1_000551_01.png",
    "0002_c2s1_000301_01.jpg",
    "0002_c2s1_000776_01.jpg",
    "0007_c3s3_077419_01.jpg",
    "0010_c6s4_002427_04.jpg",
    "0010_c12s4_002452_01.jpg",
    "1500_c1s1_000001_00.jpg",
    "1500_c3s1_000002_00.BMP",
)
QUERY = ("0001_c1s1_001051_00.jpg", "0001_c2s1_001976_00.jpg", "0003_c5s1_000551_00.jpg", "0004_c1s1_000001_00.jpg")
GALLERY = (
    "-1_c1s1_000401_03.jpg",
    "-1_c3s2_000301_01.jpg",
    "0000_c1s1_000151_01.jpg",
    "0001_c1s1_001051_03.jpg",
    "0001_c2s1_002301_02.jpg",
    "0003_c2s1_000801_01.jpg",
    "0004_c1s1_000801_01.jpg",
)


def write_image(path: Path, size: tuple[int, int] = (6, 11), *, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(path)


def write_layout(root: Path, *, train: Any = TRAIN, query: Any = QUERY, gallery: Any = GALLERY) -> Path:
    for folder, names in (("bounding_box_train", train), ("query", query), ("bounding_box_test", gallery)):
        (root / folder).mkdir(parents=True)
        for name in names:
            write_image(root / folder / name, seed=sum(name.encode()))
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_layout(tmp_path / "Market-1501")


def read(root: Path, train: bool = True, **reading: Any) -> Any:
    return Market1501(root, train, **{"height": 8, "width": 4, **reading})


def fails(kind: type[UserError], build: Callable[[], Any], *parts: str) -> str:
    """The text of the error, checked to be one line and to contain ``parts``."""
    with pytest.raises(kind) as caught:
        build()
    text = str(caught.value)
    assert text and "\n" not in text
    for part in parts:
        assert part in text, text
    return text


# ---------------------------------------------------------------------------------------------- training images


def test_training_images(root: Path) -> None:
    data = read(root)
    assert isinstance(data, TrainingImages) and len(data) == len(TRAIN)
    assert [Path(shot.path).name for shot in data.shots] == sorted(TRAIN)
    assert data.classes == ("2", "7", "10", "1500") and data.num_classes == 4
    assert data.labels.tolist() == [0, 0, 0, 0, 1, 2, 2, 3, 3] and data.labels.dtype == torch.int64
    assert data.identities.tolist() == [2, 2, 2, 2, 7, 10, 10, 1500, 1500] and data.identities.dtype == torch.int64
    assert data.cameras.tolist() == [1, 1, 2, 2, 3, 12, 6, 1, 3] and data.cameras.dtype == torch.int64
    assert data.notes == [] and not hasattr(data, "queries") and not hasattr(data, "subset")
    batch = data.__getitems__([8, 0, -5])
    assert set(batch) == {"inputs", "data_samples", "index"}
    assert batch["inputs"].shape == (3, 3, 8, 4) and batch["inputs"].dtype == torch.uint8
    assert batch["data_samples"].tolist() == [3, 0, 1] and batch["index"].tolist() == [8, 0, 4]
    with pytest.raises(IndexError):
        data[9]


def test_distractors_and_junk_are_no_training_identities(tmp_path: Path) -> None:
    data = read(write_layout(tmp_path, train=(*TRAIN, "0000_c1s1_000001_00.jpg", "-1_c1s1_000001_00.jpg")))
    assert len(data) == len(TRAIN) and data.classes[0] == "2"
    assert data.notes == ["images of identity -1 and 0 left out of bounding_box_train: 2 of 11"]


def test_names_of_dukemtmc(tmp_path: Path) -> None:
    data = read(write_layout(tmp_path, train=("0005_c2_f0046985.jpg", "0005_c5_f0051781.jpg", "0013_c10_f0.jpg")))
    assert data.identities.tolist() == [5, 5, 13] and data.cameras.tolist() == [2, 5, 10]


def test_order_is_that_of_the_names(tmp_path: Path) -> None:
    first = read(write_layout(tmp_path / "a"))
    second = read(write_layout(tmp_path / "b", train=reversed(TRAIN)))
    assert first.identities.equal(second.identities) and first.cameras.equal(second.cameras)
    assert first.fingerprint() == second.fingerprint()
    everything = list(range(len(first)))
    assert first.__getitems__(everything)["inputs"].equal(second.__getitems__(everything)["inputs"])


def test_other_files_are_ignored(root: Path) -> None:
    for folder in ("bounding_box_train", "query", "bounding_box_test"):
        for name in ("Thumbs.db", "readme.txt", "._0002_c1s1_000451_03.jpg", ".hidden.jpg"):
            (root / folder / name).write_bytes(b"x")
        (root / folder / "more.jpg").mkdir()
    assert len(read(root)) == len(TRAIN) and len(read(root, False)) == 4 + 5


def test_pixels_are_those_of_a_resize(root: Path) -> None:
    data = read(root, threads=2)
    resize = transforms.Resize((8, 4))
    for i, got in enumerate(data.__getitems__(range(len(data)))["inputs"]):
        wanted = np.asarray(resize(Image.open(data.shots[i].path).convert("RGB")))
        assert np.array_equal(got.permute(1, 2, 0).numpy(), wanted)
    assert Market1501(root)[0]["inputs"].shape == (1, 3, 256, 128)


def test_parent_folder(root: Path) -> None:
    assert read(root.parent).root == root and read(root.parent).fingerprint() == read(root).fingerprint()
    (root.parent / "empty").mkdir()
    assert len(read(root.parent, False)) == 9
    write_layout(root.parent / "Another")
    fails(DataError, lambda: read(root.parent), "several", "Another, Market-1501", "set root")


def test_fingerprint(root: Path) -> None:
    data = read(root)
    first = data.fingerprint()
    assert first == read(root.rename(root.parent / "moved")).fingerprint()
    root = root.parent / "moved"
    assert len({first, read(root, False).fingerprint(), read(root, height=9).fingerprint()}) == 3
    with (root / "bounding_box_train" / TRAIN[0]).open("ab") as file:
        file.write(b"x")
    assert read(root).fingerprint() != first
    fails(DataError, lambda: read_and_remove(root).fingerprint(), TRAIN[0], "in a run")


def read_and_remove(root: Path) -> Any:
    data = read(root)
    (root / "bounding_box_train" / TRAIN[0]).unlink()
    return data


# ---------------------------------------------------------------------------------------------- test images


def test_test_images(root: Path) -> None:
    data = read(root, train=False)
    assert isinstance(data, RetrievalImages) and len(data) == 9
    assert data.queries.tolist() == [0, 1, 2, 3] and data.gallery.tolist() == [4, 5, 6, 7, 8]
    assert data.attacked.equal(data.queries) and data.queries.dtype == data.gallery.dtype == torch.int64
    assert data.labels.tolist() == [1, 1, 3, 4, 0, 1, 1, 3, 4] and data.labels.dtype == torch.int64
    assert data.cameras.tolist() == [1, 2, 5, 1, 1, 1, 2, 2, 1]
    names = [Path(shot.path).name for shot in data.shots]
    assert names == [*QUERY, *(name for name in GALLERY if not name.startswith("-1"))]
    assert data.notes == [
        "images of identity -1 left out of bounding_box_test: 2 of 7",
    ]


def test_test_batches_have_no_labels(root: Path) -> None:
    data = read(root, train=False)
    batch = data.__getitems__([5, 0])
    assert set(batch) == {"inputs", "index"} and batch["index"].tolist() == [5, 0]
    assert batch["inputs"].shape == (2, 3, 8, 4) and data[-1]["index"].tolist() == [8]
    loader = DataLoader(data, 4, collate_fn=lambda b: b)
    assert torch.cat([b["index"] for b in loader]).tolist() == list(range(9))


def test_test_images_have_no_classes(root: Path) -> None:
    data = read(root, train=False)
    assert getattr(data, "num_classes", 7) == 7 and not hasattr(data, "classes") and not hasattr(data, "hold_out")
    with pytest.raises(AttributeError, match="no num_classes"):
        _ = data.num_classes


def test_identities_that_are_nobody_ask_nothing(tmp_path: Path) -> None:
    data = read(write_layout(tmp_path, query=(*QUERY, "0000_c1s1_1.jpg", "-1_c1s1_1.jpg")), train=False)
    assert len(data.queries) == 4 and "images of identity -1 and 0 left out of query: 2 of 6" in data.notes


@pytest.mark.parametrize("count", [1, 3, 4])
def test_subset_has_fewer_queries(root: Path, count: int) -> None:
    data = read(root, train=False)
    part = subset(data, count)
    assert part.queries.tolist() == {1: [0], 3: [0, 1, 2], 4: [0, 1, 2, 3]}[count]
    assert part.attacked.equal(part.queries) and part.gallery.equal(data.gallery) and len(part) == len(data)
    assert part.probes.equal(data.queries)  # an attacker's guides do not depend on how many queries are judged
    assert part[3]["index"].tolist() == [3] and part.labels.equal(data.labels)
    assert len(data.queries) == 4 and part.fingerprint() == data.fingerprint()


def test_subset_is_evenly_spaced(tmp_path: Path) -> None:
    query = [f"{i:04d}_c1s1_0.jpg" for i in range(1, 11)]
    assert read(write_layout(tmp_path, query=query), False).subset(4).queries.tolist() == [0, 2, 5, 7]


@pytest.mark.parametrize("count", [0, -1, 5])
def test_subsets_that_cannot_be(root: Path, count: int) -> None:
    fails(ConfigError, lambda: subset(read(root, False), count), f"{count} queries of 4")


# ---------------------------------------------------------------------------------------------- held-out identities


def held_names(count: int = 6) -> list[str]:
    return [f"{i:04d}_c{c}s1_{k}.jpg" for i in range(1, count + 1) for c in (1, 2) for k in range(3)]


def test_held_out_identities(tmp_path: Path) -> None:
    data = read(write_layout(tmp_path, train=held_names()))
    rest, held = data.hold_out(2, seed=3)
    assert isinstance(rest, Part) and isinstance(held, RetrievalImages)
    assert len(rest) == 24 and len(held) == 12 and rest.num_classes == 6 and rest.classes == data.classes
    assert sorted([*rest.positions, *held.index.tolist()]) == list(range(36))
    assert len(rest.labels.unique()) == 4 and not set(data.identities[rest.positions].tolist()) & {
        *held.labels.tolist()
    }
    # The first image of each identity and camera is a query; queries come first.
    assert held.queries.tolist() == [0, 1, 2, 3] and held.gallery.tolist() == list(range(4, 12))
    assert [Path(held.shots[i].path).stem[-1] for i in held.queries] == ["0"] * 4
    assert held.index[:4].tolist() == sorted(held.index[:4].tolist())
    assert held.cameras[held.queries].tolist() == [1, 2, 1, 2] and held.notes == []
    batch = held.__getitems__([0, 11])
    assert set(batch) == {"inputs", "index"} and batch["index"].equal(held.index[[0, 11]])
    assert batch["inputs"].equal(data.__getitems__(batch["index"].tolist())["inputs"])
    assert held.labels.equal(data.identities[held.index]) and getattr(held, "num_classes", None) is None
    assert rest.__getitems__([0])["index"].tolist() == [rest.positions[0]]
    assert held.subset(2).queries.tolist() == [0, 2]


def test_held_out_draw_depends_on_the_seed_only(tmp_path: Path) -> None:
    data = read(write_layout(tmp_path, train=held_names(12)))
    state = torch.get_rng_state()
    first = hold_out(data, 4, seed=1)[1].labels.unique().tolist()
    torch.manual_seed(7)
    assert data.hold_out(4, 1)[1].labels.unique().tolist() == first
    torch.set_rng_state(state)
    assert {tuple(data.hold_out(4, seed)[1].labels.unique().tolist()) for seed in range(5)} != {tuple(first)}
    data.hold_out(4)
    assert torch.equal(torch.get_rng_state(), state)


def test_queries_leave_an_answer_in_the_gallery() -> None:
    def pick(*cameras: int) -> list[int]:
        return pick_queries([(10 + i, Shot("", 1, camera)) for i, camera in enumerate(cameras)])

    assert pick(1, 1, 2, 2) == [10, 12] and pick(1, 1, 1) == [] and pick(1) == []
    assert pick(1, 2) == pick(1, 2, 2) == [10]  # a second query would leave one of the two without an answer
    for cameras in ((1, 2, 3), (1, 1, 2), (1, 2, 2), (1, 1, 2, 3), (3, 2, 1, 1)):
        queries = pick(*cameras)
        gallery = [10 + i for i in range(len(cameras)) if 10 + i not in queries]
        assert queries
        assert all(any(cameras[g - 10] != cameras[q - 10] for g in gallery) for q in queries)


def test_identities_seen_once_give_no_query(tmp_path: Path) -> None:
    once = [f"{i:04d}_c1s1_{k}.jpg" for i in range(1, 9) for k in range(2)]
    twice = [f"{i:04d}_c{c}s1_{k}.jpg" for i in range(11, 15) for c in (1, 2) for k in range(2)]
    data = read(write_layout(tmp_path / "a", train=once + twice))
    _, held = data.hold_out(10)
    silent = 10 - len(held.labels[held.queries].unique())
    assert held.notes == [f"held-out identities that give no query, seen by one camera only: {silent} of 10"]
    assert silent >= 6 and set(held.labels[held.gallery].tolist()) == set(held.labels.tolist())
    data = read(write_layout(tmp_path / "b", train=once))
    fails(ConfigError, lambda: data.hold_out(3), "heldout=3", "two cameras", "heldout_seed")


@pytest.mark.parametrize("count", [0, -1, 5, 6, 100])
def test_counts_that_cannot_be_held_out(tmp_path: Path, count: int) -> None:
    data = read(write_layout(tmp_path, train=held_names()))
    fails(ConfigError, lambda: hold_out(data, count), f"heldout={count}", "at least 2 of 6")


# ---------------------------------------------------------------------------------------------- bad input


def test_missing_folders(tmp_path: Path, root: Path) -> None:
    layout = ("bounding_box_train", "query", "bounding_box_test")
    fails(DataError, lambda: read(tmp_path / "none"), str(tmp_path / "none"), "No such file", *layout, "set root")
    (tmp_path / "other" / "sub").mkdir(parents=True)
    fails(DataError, lambda: read(tmp_path / "other"), "has no folder bounding_box_train", *layout)
    (root / "query").rename(root / "queries")
    assert len(read(root)) == len(TRAIN)
    fails(DataError, lambda: read(root, False), f"cannot list {root / 'query'} (No such file", *layout)


def test_names_that_do_not_parse(root: Path) -> None:
    for name in ("b.jpg", "0002C1T0001F001.jpg", "0002_1.png", "a_c1.jpg", "0002_cs1.jpg", "-2_c1.jpg", "x0002_c1.jpg"):
        write_image(root / "bounding_box_train" / name)
    text = fails(DataError, lambda: read(root), "7 of the 16", "<identity>_c<camera>", "0002_c1s1_000451_03.jpg")
    assert "-2_c1.jpg, 0002C1T0001F001.jpg, 0002_1.png and 4 more" in text and str(root / "bounding_box_train") in text
    write_image(root / "query" / "0002.jpg")
    text = fails(DataError, lambda: read(root, False), "1 of the 5", ": 0002.jpg; rename or remove")
    write_image(root / "query" / f"{'9' * 30}_c1.jpg")
    fails(DataError, lambda: read(root, False), "2 of the 6")


def test_folders_without_images(tmp_path: Path) -> None:
    write_layout(tmp_path / "a", gallery=())
    (tmp_path / "a" / "bounding_box_test" / "Thumbs.db").write_bytes(b"x")
    fails(DataError, lambda: read(tmp_path / "a", False), "bounding_box_test has no images", "*.jpg")
    write_layout(tmp_path / "b", gallery=("-1_c1.jpg", "-1_c2.jpg"))
    fails(DataError, lambda: read(tmp_path / "b", False), "all 2 images in", "are of identity -1:")
    write_layout(tmp_path / "c", train=("-1_c1.jpg", "0000_c2.jpg"))
    fails(DataError, lambda: read(tmp_path / "c"), "all 2 images in", "identity -1 and 0")


def test_one_identity_is_too_few(tmp_path: Path) -> None:
    write_layout(tmp_path, train=("0001_c1.jpg", "0001_c2.jpg", "0000_c1.jpg"))
    fails(DataError, lambda: read(tmp_path), "at least 2 identities", "show 1", str(tmp_path))


def test_broken_images_are_named(root: Path) -> None:
    path = root / "query" / QUERY[1]
    cut = path.read_bytes()[:200]
    for content in (b"", cut, b"no image"):
        path.write_bytes(content)
        for threads in (0, 2):
            data = read(root, False, threads=threads)
            fails(DataError, lambda d=data: d.__getitems__([0, 1]), str(path), "replace or remove")
            assert data[0]["inputs"].shape == (1, 3, 8, 4)
    path.unlink()
    os.symlink("nowhere.jpg", path)
    fails(DataError, lambda: read(root, False)[1], str(path))


def test_sizes_out_of_range(root: Path) -> None:
    fails(ConfigError, lambda: read(root, height=0), "height=0")
    fails(ConfigError, lambda: read(root, False, width=-1), "width=-1")
    fails(ConfigError, lambda: read(root, threads=-1), "threads")


# ---------------------------------------------------------------------------------------------- as part of natx


def test_built_by_name(root: Path) -> None:
    data = DATASETS.build(dict(type="Market1501", root=str(root), train=False, height=8, width=4))
    assert isinstance(data, RetrievalImages)
    fails(
        ConfigError, lambda: DATASETS.build(dict(type="Market1501", root=str(root), heigth=8)), "Market1501", "heigth"
    )


def test_worker_processes_and_pickling(root: Path) -> None:
    for data in (read(root), read(root, False), read(root).hold_out(1, 3)[1]):
        loader = DataLoader(data, 4, num_workers=1, collate_fn=_same)
        inputs = torch.cat([batch["inputs"] for batch in loader])
        assert inputs.equal(pickle.loads(pickle.dumps(data)).__getitems__(range(len(data)))["inputs"])


def _same(batch: Any) -> Any:
    return batch
