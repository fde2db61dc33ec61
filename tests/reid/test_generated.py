from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from natx.data.generated import MANIFEST
from natx.errors import ConfigError, DataError
from natx.registry import DATASETS
from natx.runtime.locks import exclusive
from tasks.reid.datasets import RetrievalImages, TrainingImages
from tasks.reid.datasets.cameras import SCENES, Camera, background, take_picture
from tasks.reid.datasets.draws import PERSON, Draws
from tasks.reid.datasets.figures import BAG_KINDS, HAIRSTYLES, LOWERS, PATTERNS, VIEWS, Look
from tasks.reid.generated import GeneratedReID

SMALL = dict(identities=3, test_identities=2, cameras=2, images_per_camera=2, distractors=3, junk=2, size=(64, 32))
FORK = multiprocessing.get_context("fork")


def small(root: Path, train: bool = True, **changes: Any) -> Any:
    return GeneratedReID(root, train, **{**SMALL, **changes})


def fails(kind: type[Exception], build: Callable[[], Any], *parts: str) -> None:
    with pytest.raises(kind) as caught:
        build()
    text = str(caught.value)
    assert text and "\n" not in text
    for part in parts:
        assert part in text, text


def pixels(root: Path) -> dict[str, np.ndarray]:
    return {str(p.relative_to(root)): np.asarray(Image.open(p)) for p in sorted(root.rglob("*.png"))}


def same_pixels(first: Path, second: Path) -> bool:
    a, b = pixels(first), pixels(second)
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("generated") / "set"
    small(root)
    return root


# ---------------------------------------------------------------------------------------------- the set


def test_both_parts(made: Path) -> None:
    train, test = small(made), small(made, False)
    assert isinstance(train, TrainingImages) and isinstance(test, RetrievalImages)
    assert len(train) == 3 * 2 * 2 and train.classes == ("1", "2", "3") and train.notes == []
    assert sorted(set(zip(train.identities.tolist(), train.cameras.tolist()))) == [
        (i, c) for i in (1, 2, 3) for c in (1, 2)
    ]
    assert len(test.queries) == 2 * 2 and len(test.gallery) == 2 * 2 + 3
    assert test.labels[test.queries].tolist() == [4, 4, 5, 5] and sorted(set(test.labels.tolist())) == [0, 4, 5]
    assert test.notes == ["images of identity -1 left out of bounding_box_test: 2 of 9"]
    assert train[0]["inputs"].shape == (1, 3, 64, 32) and train[0]["inputs"].dtype == torch.uint8
    assert small(made, height=16, width=8)[0]["inputs"].shape == (1, 3, 16, 8)
    assert "data_samples" in train[0] and "data_samples" not in test[0]
    assert (made / "bounding_box_train" / "0001_c1s1_000001_00.png").exists()


def test_same_parameters_same_pixels(made: Path, tmp_path: Path) -> None:
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    first, again = small(made), small(tmp_path / "again")
    assert same_pixels(made, tmp_path / "again") and first.fingerprint() == again.fingerprint()
    assert torch.equal(torch.get_rng_state(), state) and np.array_equal(np.random.get_state()[1], numpy_state)
    small(tmp_path / "other", seed=1)
    assert not any(np.array_equal(a, b) for a, b in zip(pixels(made).values(), pixels(tmp_path / "other").values()))


def test_a_larger_set_has_the_same_people(made: Path, tmp_path: Path) -> None:
    small(tmp_path / "larger", test_identities=3, distractors=4, images_per_camera=3)
    larger = pixels(tmp_path / "larger")
    for name, image in pixels(made).items():
        if name.startswith(("bounding_box_train", "query")):
            assert np.array_equal(larger[name], image)


def test_numbers_do_not_come_from_numpys_generator() -> None:
    draws = Draws(0, 1, 2)
    raw = np.random.PCG64(np.random.SeedSequence((0, 1, 2))).random_raw(3)
    assert [draws.between(0, 2**16 - 1) for _ in range(3)] == [int(value) >> 48 for value in raw]
    drawn = [Draws(0, key).between(-2, 3) for key in range(300)]
    assert set(drawn) == {-2, -1, 0, 1, 2, 3}
    noise = Draws(7).noise((64, 32, 3), 5)
    assert noise.dtype == np.int16 and noise.shape == (64, 32, 3)
    assert abs(noise.mean()) < 1 and 2 < noise.std() < 6 and -10 <= noise.min() and noise.max() <= 10


def test_people_can_be_told_apart() -> None:
    looks = [Look.draw(Draws(0, PERSON, key)) for key in range(200)]
    assert len(set(looks)) == 200
    coarse = [(x.hairstyle, x.pattern, x.lower, x.bag, x.long_sleeves) for x in looks]
    assert 60 < len(set(coarse)) < 200  # colours must tell some of them apart
    for field, known in (("hairstyle", HAIRSTYLES), ("pattern", PATTERNS), ("lower", LOWERS), ("bag", BAG_KINDS)):
        assert {getattr(look, field) for look in looks} == set(known)


def test_everybody_is_drawn_in_every_scene() -> None:
    looks = [Look.draw(Draws(0, PERSON, key)) for key in range(24)]
    for number in range(1, len(SCENES) + 1):
        camera = Camera.draw(0, number)
        assert camera.scene in SCENES and camera.view in VIEWS
        scene = background(camera, height=64, width=32)
        for key, look in enumerate(looks):
            picture = take_picture(look, camera, scene, Draws(0, number, key), height=64, width=32)
            nobody = take_picture(None, camera, scene, Draws(0, number, key), height=64, width=32)
            assert picture.size == nobody.size == (32, 64) and picture.mode == "RGB"
            assert (np.asarray(picture) != np.asarray(nobody)).mean() > 0.1


# ---------------------------------------------------------------------------------------------- the folder


def test_an_existing_set_is_only_read(made: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*")}
    small(made), small(made, False, height=32)
    assert before == {path: path.stat().st_mtime_ns for path in made.rglob("*")}
    manifest = json.loads((made / MANIFEST).read_text())
    assert manifest["identities"] == 3 and manifest["size"] == [64, 32] and manifest["seed"] == 0


def test_another_set_is_not_overwritten(made: Path) -> None:
    before = (made / MANIFEST).read_bytes()
    fails(DataError, lambda: small(made, seed=1), str(made), "seed=0 there and 1 asked for", "another root")
    fails(DataError, lambda: small(made, cameras=3, size=[64, 33]), "cameras=2 there", "size=[64, 32] there")
    assert (made / MANIFEST).read_bytes() == before and small(made, size=[64, 32])


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"format": 1}', "no json"])
def test_other_folders_are_left_alone(tmp_path: Path, content: str | None) -> None:
    root = tmp_path / "mine"
    root.mkdir()
    (root / "thesis.txt").write_text("x")
    if content is not None:
        (root / MANIFEST).write_text(content)
    fails(DataError, lambda: small(root), str(root), "generated set", "left as it is")
    assert (root / "thesis.txt").read_text() == "x" and not (root / "query").exists()


def test_roots_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    fails(DataError, lambda: small(tmp_path / "file"), "file is no generated set")
    fails(DataError, lambda: small(tmp_path / "file" / "below"), "cannot make the generated set", "another root")


def test_an_empty_folder_is_filled(made: Path, tmp_path: Path) -> None:
    small(tmp_path)
    assert same_pixels(tmp_path, made)


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("natx.data.generated.write_json", full)
        fails(DataError, lambda: small(tmp_path / "set"), str(tmp_path / "set"), "No space left")
    assert [path.name for path in tmp_path.iterdir()] == [".set.lock"]
    assert len(small(tmp_path / "set")) == 12


def test_a_killed_process_leaves_no_half_set(made: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    process = FORK.Process(target=small, args=(root,), kwargs=dict(identities=2000), daemon=True)
    process.start()
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob(".set.unfinished/bounding_box_train/*.png"))) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.join()
    assert process.exitcode == -9 and not root.exists() and (tmp_path / ".set.unfinished").exists()
    small(root)
    assert same_pixels(root, made) and not (tmp_path / ".set.unfinished").exists()


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
    assert same_pixels(root, made) and sorted(os.listdir(tmp_path)) == [".set.lock", "0", "1", "set"]


def report(start: Any, root: Path, into: Path) -> None:
    start.wait()
    into.write_text(small(root).fingerprint())


# ---------------------------------------------------------------------------------------------- parameters


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        (dict(identities=1), "identities must be a whole number from 2; got 1"),
        (dict(test_identities=0), "test_identities"),
        (dict(cameras=1), "cameras"),
        (dict(images_per_camera=1), "images_per_camera"),
        (dict(distractors=-1), "distractors"),
        (dict(junk=2.5), "junk must be a whole number from 0; got 2.5"),
        (dict(seed=-1), "seed"),
        (dict(seed=True), "seed"),
        (dict(size=(63, 32)), "size must be height and width from (64, 32); got (63, 32)"),
        (dict(size=(64,)), "size"),
        (dict(size=(64.0, 32.0)), "size"),
    ],
)
def test_parameters_out_of_range(tmp_path: Path, changes: dict[str, Any], part: str) -> None:
    fails(ConfigError, lambda: small(tmp_path / "set", **changes), part)
    assert not list(tmp_path.iterdir())


def test_built_by_name(made: Path) -> None:
    assert len(DATASETS.build(dict(type="GeneratedReID", root=str(made), train=False, **SMALL))) == 11
