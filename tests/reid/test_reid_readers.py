"""Readers beside Market-1501's own: MSMT17, CUHK03, sets without cameras, and people who are numbered from 0."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from natx.errors import ConfigError, DataError
from natx.registry import DATASETS
from tasks.reid.datasets import CUHK03, MSMT17, Market1501, RetrievalImages, TrainingImages
from tasks.reid.metrics import Retrieval
from tasks.reid.ranking import Protocol

SIZE: dict[str, Any] = {"height": 8, "width": 4}


def write_image(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (11, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, "PNG")


def write_layout(root: Path, *, train: Any, query: Any, gallery: Any) -> Path:
    for folder, names in (("bounding_box_train", train), ("query", query), ("bounding_box_test", gallery)):
        for name in names:
            write_image(root / folder / name, sum(f"{folder}{name}".encode()))
    return root


def fails(kind: type[Exception], build: Callable[[], Any], *parts: str) -> None:
    with pytest.raises(kind) as caught:
        build()
    text = str(caught.value)
    assert "\n" not in text and all(part in text for part in parts), text


# --- MSMT17 -----------------------------------------------------------------------------------------------------------

LISTS = {
    "train": ["0000/0000_000_01_0303morning_0008_0.jpg 0", "0001/0001_000_14_0303noon_0008_0.jpg 1"],
    "val": ["0000/0000_001_05_0303morning_0010_1.jpg 0"],
    "query": ["0000/0000_000_02_0113afternoon_0001_0.jpg 0", "0001/0001_004_15_0113noon_0001_0.jpg 1"],
    "gallery": ["0000/0000_003_03_0113noon_0004_0.jpg 0", "0001/0001_005_02_0113noon_0004_0.jpg 1"],
}


def msmt17(root: Path, *, folders: tuple[str, str] = ("train", "test")) -> Path:
    root.mkdir()
    for seed, (part, lines) in enumerate(LISTS.items()):
        (root / f"list_{part}.txt").write_text("\n".join(lines) + "\n")
        for line in lines:
            write_image(root / folders[part in ("query", "gallery")] / line.split()[0], seed)
    return root


@pytest.mark.parametrize("folders", [("train", "test"), ("mask_train_v2", "mask_test_v2")])
def test_msmt17(tmp_path: Path, folders: tuple[str, str]) -> None:
    root = msmt17(tmp_path / "MSMT17", folders=folders)
    data = MSMT17(root, **SIZE)
    assert isinstance(data, TrainingImages) and data.classes == ("0", "1")
    assert data.labels.tolist() == [0, 1, 0] and data.cameras.tolist() == [1, 14, 5]
    assert len(MSMT17(root, validation=False, **SIZE)) == 2
    test = DATASETS.build(dict(type="MSMT17", root=str(root), train=False, **SIZE))
    assert isinstance(test, RetrievalImages) and test.notes == []
    assert test.labels.tolist() == [0, 1, 0, 1] and test.cameras.tolist() == [2, 15, 3, 2]
    assert test.__getitems__([0, 3])["inputs"].shape == (2, 3, 8, 4)
    assert Retrieval()(torch.eye(4)[[0, 1, 0, 1]], test)["mAP"] == 100  # identity 0 is searched for and found


def test_msmt17_that_is_not_there_or_says_something_else(tmp_path: Path) -> None:
    fails(DataError, lambda: MSMT17(tmp_path / "none"), "no folder train or mask_train_v2", "set root")
    root = msmt17(tmp_path / "MSMT17")
    (root / "list_val.txt").write_text("0000/0000_001_x_0303.jpg 0\n")
    fails(DataError, lambda: MSMT17(root), "line 1 of", "list_val.txt", "0000/0000_000_01_0303morning_0008_0.jpg 0")
    (root / "list_query.txt").write_text("\n".join(LISTS["query"]) + "\n0001/0001_004_15_0113noon_0001_0.jpg\n")
    fails(DataError, lambda: MSMT17(root, train=False), "line 3 of")
    (root / "list_query.txt").unlink()
    fails(DataError, lambda: MSMT17(root, train=False), "cannot read", "list_query.txt")
    (root / "list_query.txt").touch()
    fails(DataError, lambda: MSMT17(root, train=False), "is empty")


# --- CUHK03 -----------------------------------------------------------------------------------------------------------


def cuhk03(root: Path, *, boxes: str = "detected", **changes: Any) -> Path:
    """Two people for training and two others, with a picture of each from both cameras of their pair."""
    names = [f"1_{person:03d}_{camera}_{camera:02d}.png" for person in (1, 2, 3, 4) for camera in (1, 2)]
    for seed, name in enumerate(names):
        write_image(root / f"images_{boxes}" / name, seed)
    content: dict[str, Any] = {
        "filelist": np.array([[name] for name in names], object),
        "labels": np.array([[1], [1], [2], [2], [3], [3], [4], [4]], np.uint16),
        "train_idx": np.array([[1], [2], [3], [4]], np.uint16),
        "query_idx": np.array([[5], [7]], np.uint16),
        "gallery_idx": np.array([[6], [8], [5]], np.uint16),
        **changes,
    }
    savemat(root / f"cuhk03_new_protocol_config_{boxes}.mat", content)
    return root


@pytest.mark.parametrize("boxes", ["detected", "labeled"])
def test_cuhk03_by_its_new_protocol(tmp_path: Path, boxes: Any) -> None:
    root = cuhk03(tmp_path, boxes=boxes)
    data = CUHK03(root, boxes=boxes, **SIZE)
    assert data.identities.tolist() == [1, 1, 2, 2] and data.cameras.tolist() == [1, 2, 1, 2]
    assert data.classes == ("1", "2") and data[0]["inputs"].shape == (1, 3, 8, 4)
    test = DATASETS.build(dict(type="CUHK03", root=str(root), boxes=boxes, train=False, **SIZE))
    assert test.labels.tolist() == [3, 4, 3, 4, 3] and test.cameras.tolist() == [1, 1, 2, 2, 1]
    assert [Path(shot.path).name for shot in test.shots[:2]] == ["1_003_1_01.png", "1_004_1_01.png"]


def test_cuhk03_in_markets_layout(tmp_path: Path) -> None:
    names = dict(train=["0001_c1_1.png", "0002_c2_1.png"], query=["0003_c1_1.png"], gallery=["0003_c2_1.png"])
    write_layout(tmp_path / "detected", **names)
    assert CUHK03(tmp_path, **SIZE).identities.tolist() == [1, 2]
    assert CUHK03(tmp_path, train=False, **SIZE).cameras.tolist() == [1, 2]


def test_cuhk03_that_is_not_there_or_broken(tmp_path: Path) -> None:
    fails(DataError, lambda: CUHK03(tmp_path), "CUHK03-NP", "cuhk03_new_protocol_config_detected.mat", "set root")
    fails(ConfigError, lambda: CUHK03(tmp_path, boxes="drawn"), "'detected' or 'labeled'")  # type: ignore[arg-type]
    for number, changes in enumerate(
        ({"query_idx": np.array([[0]])}, {"query_idx": np.array([[99]])}, {"labels": [1]})
    ):
        root = tmp_path / str(number)
        root.mkdir()
        cuhk03(root, **changes)
        fails(DataError, lambda root=root: CUHK03(root, train=False), "no split of the new protocol")
    for content in (b"", b"no matrix"):
        (root / "cuhk03_new_protocol_config_detected.mat").write_bytes(content)
        fails(DataError, lambda: CUHK03(root), "no split of the new protocol")


# --- sets in Market's layout that differ from it ----------------------------------------------------------------------


def nameless(root: Path) -> Path:
    """Four people without cameras; the first query's picture lies in the gallery under another name."""
    root = write_layout(
        root,
        train=["0007_a.png", "0007_b.png", "0007_c.png", "0009_a.png", "0009_b.png"],
        query=["0001_x.png", "0002_x.png"],
        gallery=["0001_1.png", "0001_2.png", "0002_1.png", "0000_1.png", "-1_1.png"],
    )
    picture = (root / "query" / "0001_x.png").read_bytes()
    (root / "bounding_box_test" / "0001_copy.png").write_bytes(picture)
    (root / "bounding_box_test" / "0000_copy.png").write_bytes(picture)  # of nobody who is searched for
    return root


def test_without_cameras_only_the_own_picture_is_left_out(tmp_path: Path) -> None:
    root = nameless(tmp_path / "set")
    fails(DataError, lambda: Market1501(root, **SIZE), "do not start with <identity>_c<camera>", "cameras='none'")
    test = Market1501(root, train=False, cameras="none", **SIZE)
    names = [Path(shot.path).name for shot in test.shots]
    assert test.notes[-1] == (
        "no cameras: every gallery image of a query's person is right but the query's own picture, which 1 of 2 "
        "queries have there"
    )
    protocol = Protocol(
        query_ids=test.labels[test.queries],
        query_cameras=test.cameras[test.queries],
        gallery_ids=test.labels[test.gallery],
        gallery_cameras=test.cameras[test.gallery],
    )
    gallery = names[len(test.queries) :]
    right, out = ([gallery[at] for at in side.tolist()] for side in protocol.split(0))
    assert sorted(right) == ["0001_1.png", "0001_2.png"] and out == ["0001_copy.png"]
    right, out = ([gallery[at] for at in side.tolist()] for side in protocol.split(1))
    assert right == ["0002_1.png"] and out == []
    assert Retrieval()(torch.randn(len(test), 4), test)["Rank-10"] == 100
    assert not test.cameras_named and Retrieval().draw(
        tmp_path / "picture.png",
        test,
        positions=[0],
        columns={"clean": (torch.ones(len(test), 4), torch.ones(1, 3, 8, 4))},
    )


def test_without_cameras_a_held_out_person_gives_one_query(tmp_path: Path) -> None:
    names = [f"{person:04d}_{shot}.png" for person in (3, 5, 8, 9) for shot in "abc"]
    root = write_layout(tmp_path, train=names, query=["0001_x.png"], gallery=["0001_y.png"])
    _, held = Market1501(root, cameras="none", **SIZE).hold_out(2)
    assert len(held.queries) == 2 and len(held.gallery) == 4
    assert Retrieval()(torch.randn(6, 4), held)["Rank-10"] == 100


def test_unknown_cameras_are_refused(tmp_path: Path) -> None:
    fails(ConfigError, lambda: Market1501(tmp_path, cameras="off"), "'named'", "'none'")  # type: ignore[arg-type]


def test_people_who_are_numbered_from_0_are_kept_when_asked(tmp_path: Path) -> None:
    train = ["0000_c1_1.png", "0000_c2_1.png", "0001_c1_1.png"]
    root = write_layout(tmp_path, train=train, query=["0000_c1_9.png", "0002_c1_9.png"], gallery=["0000_c2_8.png"])
    fails(DataError, lambda: Market1501(root, **SIZE), "show 1")
    kept = Market1501(root, distractors=False, **SIZE)
    assert kept.classes == ("0", "1") and not any("left out" in note for note in kept.notes)
    test = Market1501(root, train=False, distractors=False, **SIZE)
    assert test.labels[test.queries].tolist() == [0, 2] and test.distractor is None
    usual = Market1501(root, train=False, **SIZE)
    assert usual.labels.tolist() == [2, 0] and usual.distractor == 0


@pytest.mark.parametrize("train", [True, False])
def test_identities_that_training_and_queries_share_are_remarked_on(tmp_path: Path, train: bool) -> None:
    people = [f"{person:04d}_c1_1.png" for person in (2, 3, 4, 5, 6)]
    root = write_layout(
        tmp_path, train=[*people, "0000_c1_1.png"], query=[*people[:4], "0000_c1_2.png"], gallery=["0002_c2_1.png"]
    )
    note = (
        "bounding_box_train and query share 4 identities (2, 3, 4 and 1 more): a test on people who were trained on "
        "says little about others"
    )
    assert note in Market1501(root, train=train, **SIZE).notes
    for name in people[:4]:
        (root / "query" / name).rename(root / "query" / f"1{name}")
    assert not any("share" in text for text in Market1501(root, train=train, **SIZE).notes)
