from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from natx.data.generated import MANIFEST
from natx.errors import ConfigError, DataError
from natx.registry import DATASETS
from natx.runtime.locks import exclusive
from tasks.det.datasets import GeneratedVOC, VOCDetection
from tasks.det.datasets.generated import FORMAT
from tasks.det.datasets.scenes import GROUNDS, Box, Numbers, digits, draw, enlarge, ink

SMALL = dict(images=5, test_images=3, canvas=(64, 72), sides=(20, 32), objects=(1, 3))
FORK = multiprocessing.get_context("fork")


def small(root: Path, split: str = "trainval", **changes: Any) -> Any:
    return GeneratedVOC(root, split, **{**SMALL, **changes})


def fails(kind: type[Exception], build: Callable[[], Any], *parts: str) -> None:
    with pytest.raises(kind) as caught:
        build()
    text = str(caught.value)
    assert text and "\n" not in text
    for part in parts:
        assert part in text, text


def contents(root: Path) -> dict[str, Any]:
    """Pixels of the images and text of all other files."""
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    return {
        str(path.relative_to(root)): np.asarray(Image.open(path)).tobytes()
        if path.suffix == ".png"
        else path.read_text()
        for path in files
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("generated") / "set"
    small(root)
    return root


def picture(*key: int, test: bool = False, **changes: Any) -> tuple[np.ndarray, list[Any]]:
    settings = {"height": 160, "width": 160, "sides": (24, 72), "objects": (1, 4), **changes}
    return draw(Numbers(*key), test=test, **settings)


# ---------------------------------------------------------------------------------------------- the set


def test_both_parts(made: Path) -> None:
    train, test = small(made), small(made, "test")
    assert isinstance(train, VOCDetection) and isinstance(test, VOCDetection)
    assert len(train) == 5 and len(test) == 3 and train.train and not test.train
    assert train.classes == tuple("0123456789") and train.notes == test.notes == []
    assert train[0]["inputs"].shape == (1, 3, 64, 72) and train.annotations[0].scale == (1.0, 1.0)
    assert small(made, size=(32, 48))[0]["inputs"].shape == (1, 3, 32, 48)
    assert small(made, short=32, divisor=16, threads=2)[0]["inputs"].shape == (1, 3, 32, 48)
    names = [Path(a.path).name for a in test.annotations]
    assert names == ["test_000000.png", "test_000001.png", "test_000002.png"]
    for data in (train, test):
        for annotation in data.annotations:
            assert 1 <= len(annotation.boxes) <= 3 and not annotation.difficult.any()
            x1, y1, x2, y2 = annotation.boxes.unbind(1)
            assert (x1 >= 0).all() and (y1 >= 0).all() and (x2 <= 71).all() and (y2 <= 63).all()
            assert (x2 - x1 >= 3).all() and (y2 - y1 >= 12).all() and (y2 - y1 < 32).all()


def test_annotations_are_vocs(made: Path) -> None:
    top = ET.parse(made / "Annotations" / "test_000001.xml").getroot()
    assert top.tag == "annotation" and top.findtext("filename") == "test_000001.png"
    assert [top.findtext(f"size/{name}") for name in ("width", "height", "depth")] == ["72", "64", "3"]
    annotation = small(made, "test").annotations[1]
    things = top.findall("object")
    assert [thing.findtext("name") for thing in things] == [str(label) for label in annotation.labels.tolist()]
    for thing, box in zip(things, annotation.boxes.tolist()):
        corners = [int(thing.findtext(f"bndbox/{tag}")) for tag in ("xmin", "ymin", "xmax", "ymax")]
        assert [value - 1 for value in corners] == box and thing.findtext("difficult") == "0"


def test_same_parameters_same_pixels(made: Path, tmp_path: Path) -> None:
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    again = small(tmp_path / "again")
    assert contents(made) == contents(tmp_path / "again") and again.fingerprint() == small(made).fingerprint()
    assert torch.equal(torch.get_rng_state(), state) and np.array_equal(np.random.get_state()[1], numpy_state)
    small(tmp_path / "other", seed=1)
    first, other = contents(made), contents(tmp_path / "other")
    assert not any(first[name] == other[name] for name in first if name.endswith(".png"))


def test_a_larger_set_begins_with_the_same_pictures(made: Path, tmp_path: Path) -> None:
    small(tmp_path / "larger", images=7, test_images=4)
    larger = contents(tmp_path / "larger")
    assert all(larger[name] == value for name, value in contents(made).items() if name.endswith((".png", ".xml")))


def test_the_pixels_are_known() -> None:
    # Whole numbers from raw PCG64 only, so the same everywhere. Other pictures need another FORMAT.
    digest = hashlib.sha256()
    for key in range(24):
        pixels, found = picture(0, key, test=key % 2 == 1)
        digest.update(pixels.tobytes())
        digest.update(repr([(thing.digit, *thing.box) for thing in found]).encode())
    assert FORMAT == 2 and digest.hexdigest() == "c0f803bbdc01f0cad82c37bb650314671ce81d6006e6b86fe19c15f46be4a6fc"


def test_numbers_do_not_come_from_numpys_generator() -> None:
    raw = [int(value) for value in np.random.PCG64(np.random.SeedSequence((0, 1, 2))).random_raw(6)]
    numbers = Numbers(0, 1, 2)
    assert [numbers.one(0, 2**16 - 1) for _ in range(3)] == [value >> 48 for value in raw[:3]]
    assert numbers.array(0, 2**16 - 1, 3, 1).tolist() == [[value >> 48] for value in raw[3:]]
    drawn = Numbers(7).array(-2, 3, 40, 50)
    assert drawn.shape == (40, 50) and drawn.dtype == np.int64 and np.unique(drawn).tolist() == [-2, -1, 0, 1, 2, 3]
    assert np.bincount((drawn + 2).ravel()).min() > 250
    assert {Numbers(7, key).pick("abc") for key in range(40)} == set("abc")


# ---------------------------------------------------------------------------------------------- the digits


def test_training_and_test_show_other_digits() -> None:
    train, test = digits(False), digits(True)
    assert sum(map(len, train)) == 1437 and sum(map(len, test)) == 360 and min(map(len, test)) > 20
    every, labels = load_digits(return_X_y=True)
    for label in range(10):
        ours = np.concatenate([train[label], test[label]]).reshape(-1, 64)
        assert np.array_equal(ours, every[labels == label])
        seen = {digit.tobytes() for digit in train[label]}
        assert not any(digit.tobytes() in seen for digit in test[label])


def test_enlarging_is_smooth_and_keeps_what_is_there() -> None:
    flat = enlarge(np.full((4, 5), 9), 33, 21)
    assert flat.shape == (33, 21) and np.all(flat == 9)
    values = np.random.default_rng(0).integers(0, 256, (6, 7))
    assert np.array_equal(enlarge(values, 6, 7), values)
    # Through the points: the middle pixel of five belongs to one value.
    assert np.array_equal(enlarge(values, 30, 35)[2::5, 2::5], values)
    slope = enlarge(np.arange(8)[None] * 80, 1, 64)[0]
    # Apart from the ends, where the slope stops, steps are even: 80 a point are 10 a pixel.
    assert np.all(np.abs(np.diff(slope[8:-8]) - 10) <= 3)


def test_ink_is_the_digit() -> None:
    for label in range(10):
        for digit in digits(False)[label][:5]:
            cover = ink(digit, 80, 80)
            assert cover.min() == 0 and cover.max() == 255 and cover.shape == (80, 80)
            # Back to 8 x 8 (the margin taken off), dark is dark and light is light.
            coarse = cover[8:72, 8:72].reshape(8, 8, 8, 8).mean((1, 3)) / 255
            assert coarse[digit >= 15].min() > 0.5 and coarse[digit == 0].max() < 0.5
            assert np.corrcoef(coarse.ravel(), digit.ravel())[0, 1] > 0.9


def test_boxes_are_tight_around_the_ink(monkeypatch: pytest.MonkeyPatch) -> None:
    flat = {"flat": lambda numbers, height, width: np.full((height, width, 3), 128, dtype=np.int64)}
    monkeypatch.setattr("tasks.det.datasets.scenes.GROUNDS", flat)
    monkeypatch.setattr("tasks.det.datasets.scenes._clutter", lambda numbers, picture: None)
    monkeypatch.setattr("tasks.det.datasets.scenes._CONTRAST", (100, 110))  # so that ink is easily told from ground
    for key in range(30):
        pixels, found = picture(1, key, objects=(1, 1))
        assert len(found) == 1
        # The light makes the ground 105 to 151 in all channels alike; noise is up to 9. A digit is 70 away.
        change = np.abs(pixels.astype(int) - np.median(pixels, axis=(0, 1))).max(2) > 40
        rows, columns = (np.flatnonzero(change.sum(axis) >= 1) for axis in (1, 0))
        left, top, right, bottom = found[0].box
        for got, wanted in zip((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1), (left, top, right, bottom)):
            assert abs(int(got) - wanted) <= 1, key


def test_digits_differ_from_their_ground_in_brightness(monkeypatch: pytest.MonkeyPatch) -> None:
    flat = {"flat": lambda numbers, height, width: np.full((height, width, 3), 128, dtype=np.int64)}
    monkeypatch.setattr("tasks.det.datasets.scenes.GROUNDS", flat)
    monkeypatch.setattr("tasks.det.datasets.scenes._clutter", lambda numbers, picture: None)
    signs = set()
    for key in range(30):
        pixels, found = picture(4, key, objects=(1, 1), sides=(60, 72))
        bright = pixels @ np.array([0.3, 0.59, 0.11])
        left, top, right, bottom = found[0].box
        part = bright[top:bottom, left:right]
        around = np.median(bright[max(0, top - 3) : bottom + 3, max(0, left - 3) : right + 3])
        # 40 to 80 of brightness, a tint of at most 30 in each colour and shading of 20, under a light of 0.8 to 1.2.
        low, high = np.percentile(part, 2) - around, np.percentile(part, 98) - around
        change = high if high > -low else low
        assert 15 < abs(change) < 160, key
        signs.add(change > 0)
    assert signs == {False, True}


def test_objects() -> None:
    counts, labels, areas = set(), set(), []
    for key in range(60):
        pixels, found = picture(2, key)
        assert pixels.shape == (160, 160, 3) and pixels.dtype == np.uint8
        boxes = [thing.box for thing in found]
        for i, box in enumerate(boxes):
            assert 0 <= box.left < box.right <= 160 and 0 <= box.top < box.bottom <= 160
            assert all(box.shared(other) <= 0.12 * min(box.area, other.area) for other in boxes[:i])
            areas.append(box.area)
        counts.add(len(found))
        labels.update(thing.digit for thing in found)
    assert counts == {1, 2, 3, 4} and labels == set(range(10)) and max(areas) > 8 * min(areas)
    assert len(picture(3, 0, height=32, width=32, sides=(24, 24), objects=(6, 6))[1]) in range(1, 6)  # no room for six


def test_boxes_share_what_they_share() -> None:
    assert Box(0, 0, 4, 3).area == 12 and Box(0, 0, 4, 3).shared(Box(2, 1, 9, 9)) == 4
    assert Box(0, 0, 4, 3).shared(Box(4, 0, 5, 3)) == Box(0, 0, 4, 3).shared(Box(9, 9, 12, 12)) == 0


def test_every_ground_can_be_told_from_the_others() -> None:
    for name, ground in GROUNDS.items():
        first, again, other = (ground(Numbers(key), 50, 70) for key in (1, 1, 2))
        assert first.shape == (50, 70, 3) and first.min() >= 0 and first.max() <= 255, name
        assert np.array_equal(first, again) and not np.array_equal(first, other)
        assert np.concatenate([ground(Numbers(key), 96, 96).std((0, 1)) for key in range(5)]).max() > 8, name


# ---------------------------------------------------------------------------------------------- the folder


def test_an_existing_set_is_only_read(made: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*")}
    small(made), small(made, "test", size=(32, 32))
    assert before == {path: path.stat().st_mtime_ns for path in made.rglob("*")}
    manifest = json.loads((made / MANIFEST).read_text())
    assert manifest["images"] == 5 and manifest["canvas"] == [64, 72] and manifest["seed"] == 0


def test_another_set_is_not_overwritten(made: Path) -> None:
    before = (made / MANIFEST).read_bytes()
    fails(DataError, lambda: small(made, seed=1), str(made), "seed=0 there and 1 asked for", "another root")
    fails(DataError, lambda: small(made, images=6, canvas=[64, 73]), "images=5 there", "canvas=[64, 72] there")
    assert (made / MANIFEST).read_bytes() == before and small(made, canvas=[64, 72])


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"format": 1}', "no json"])
def test_other_folders_are_left_alone(tmp_path: Path, content: str | None) -> None:
    root = tmp_path / "mine"
    root.mkdir()
    (root / "thesis.txt").write_text("x")
    if content is not None:
        (root / MANIFEST).write_text(content)
    fails(DataError, lambda: small(root), str(root), "generated", "left as it is")
    assert (root / "thesis.txt").read_text() == "x" and not (root / "Annotations").exists()


def test_roots_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    fails(DataError, lambda: small(tmp_path / "file"), "file is no generated set")
    fails(DataError, lambda: small(tmp_path / "file" / "below"), "cannot make the generated set", "another root")


def test_an_empty_folder_is_filled(made: Path, tmp_path: Path) -> None:
    small(tmp_path)
    assert contents(tmp_path) == contents(made)


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("natx.data.generated.write_json", full)
        fails(DataError, lambda: small(tmp_path / "set"), str(tmp_path / "set"), "No space left")
    assert [path.name for path in tmp_path.iterdir()] == [".set.lock"]
    assert len(small(tmp_path / "set")) == 5


def test_a_killed_process_leaves_no_half_set(made: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    process = FORK.Process(target=small, args=(root,), kwargs=dict(images=20000), daemon=True)
    process.start()
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob(".set.unfinished/JPEGImages/*.png"))) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.join()
    assert process.exitcode == -9 and not root.exists() and (tmp_path / ".set.unfinished").exists()
    small(root)
    assert contents(root) == contents(made) and not (tmp_path / ".set.unfinished").exists()


def test_two_processes_make_one_set(made: Path, tmp_path: Path) -> None:
    root, start = tmp_path / "set", FORK.Event()
    processes = [FORK.Process(target=report, args=(start, root, tmp_path / f"{i}"), daemon=True) for i in range(2)]
    for process in processes:
        process.start()
    with exclusive(tmp_path / ".set.lock"):  # taken after the fork, which would pass it on; both find no set and wait
        start.set()
        time.sleep(0.3)
        assert not root.exists()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert (tmp_path / "0").read_text() == (tmp_path / "1").read_text() == small(made).fingerprint()
    assert contents(root) == contents(made) and sorted(os.listdir(tmp_path)) == [".set.lock", "0", "1", "set"]


def report(start: Any, root: Path, into: Path) -> None:
    start.wait()
    into.write_text(small(root).fingerprint())


# ---------------------------------------------------------------------------------------------- parameters


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        (dict(split="val"), "split must be trainval or test; got 'val'"),
        (dict(images=0), "images must be a whole number from 1; got 0"),
        (dict(test_images=2.5), "test_images must be a whole number from 1; got 2.5"),
        (dict(seed=-1), "seed"),
        (dict(seed=True), "seed"),
        (dict(canvas=(64,)), "canvas must be two whole numbers from 16; got [64]"),
        (dict(canvas=(64, 15)), "canvas"),
        (dict(sides=(20.0, 30)), "sides"),
        (dict(sides=(32, 20)), "sides must be the least and the most; got [32, 20]"),
        (dict(sides=(20, 60)), "sides up to 60 do not fit canvas=[64, 72]"),
        (dict(objects=(0, 2)), "objects must be two whole numbers from 1"),
        (dict(objects=(3, 2)), "objects must be the least and the most"),
    ],
)
def test_parameters_out_of_range(tmp_path: Path, changes: dict[str, Any], part: str) -> None:
    fails(ConfigError, lambda: small(tmp_path / "set", **changes), part)
    assert not list(tmp_path.iterdir())


def test_built_by_name(made: Path) -> None:
    settings = {name: list(value) if isinstance(value, tuple) else value for name, value in SMALL.items()}
    assert len(DATASETS.build(dict(type="GeneratedVOC", root=str(made), split="test", **settings))) == 3
