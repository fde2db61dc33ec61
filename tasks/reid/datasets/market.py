"""Market-1501 and sets in its folder layout."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from natx.data.base import brief
from natx.errors import ConfigError, DataError
from natx.registry import DATASETS
from tasks.reid.datasets.images import RetrievalImages, TrainingImages
from tasks.reid.datasets.layout import (
    DISTRACTOR,
    GALLERY,
    JUNK,
    QUERY,
    TRAIN,
    Shot,
    find_root,
    identities_in,
    read_folder,
)

Cameras = Literal["named", "none"]
NAMED = 3  # identities in a remark


@DATASETS.register_module()
def Market1501(
    root: str | Path = "data/Market-1501-v15.09.15",
    train: bool = True,
    *,
    cameras: Cameras = "named",
    distractors: bool = True,
    height: int = 256,
    width: int = 128,
    threads: int = 0,
) -> TrainingImages | RetrievalImages:
    """Market-1501, DukeMTMC-reID and other sets in the Market-1501 folder layout.

    ``root`` holds ``bounding_box_train``, ``query`` and ``bounding_box_test``, whose file names start with
    ``<identity>_c<camera>``. Images are in the order of their names. Identity -1 (junk) is left out everywhere;
    identity 0 (distractors) stays in the gallery and is left out elsewhere. ``notes`` say what is left out, and which
    identities training images and queries share.

    Args:
        root: folder of the data set, or a folder with the data set as its only such subfolder.
        train: the training images, else queries and gallery.
        cameras: 'none' for names that begin with the identity and say no camera. Every other image of a query's person
            is right then; only a gallery image that is the query's own picture (the same bytes) is left out for it.
        distractors: identity 0 marks distractors, as in Market-1501; False keeps it as a person, in sets that number
            people from 0.
        height: of the images in pixels.
        width: of the images in pixels.
        threads: decode a batch with this many threads; 0 decodes in the caller's.

    Returns:
        :class:`TrainingImages`, or :class:`RetrievalImages` without ``train``.

    Raises:
        DataError: folders missing or empty, file names that do not say identity and camera, fewer than 2 training
            identities; when an image is read: a broken image.
        ConfigError: unknown ``cameras``, size or threads out of range.

    Source: Zheng et al., "Scalable Person Re-identification: A Benchmark" (ICCV 2015).
    """
    if cameras not in ("named", "none"):
        raise ConfigError(f"cameras is 'named' (in the file names) or 'none'; got {cameras!r}")
    root, notes, named = find_root(root), list[str](), cameras == "named"
    reading: dict[str, Any] = {"height": height, "width": width, "threads": threads, "notes": notes}
    nobody = (JUNK, DISTRACTOR) if distractors else (JUNK,)
    if train:
        shots = _read_part(root / TRAIN, notes, without=nobody, cameras=named)
        notes += _shared({shot.identity for shot in shots}, identities_in(root / QUERY) - set(nobody))
        return TrainingImages(root, shots if named else _first_and_others(shots), **reading)
    queries = _read_part(root / QUERY, notes, without=nobody, cameras=named)
    gallery = _read_part(root / GALLERY, notes, without=(JUNK,), cameras=named)
    notes += _shared({shot.identity for shot in queries}, identities_in(root / TRAIN) - set(nobody))
    if not named:
        shots, repeated = _own_pictures(queries, gallery)
        queries, gallery = shots[: len(queries)], shots[len(queries) :]
        notes.append(
            "no cameras: every gallery image of a query's person is right but the query's own picture, which "
            f"{repeated} of {len(queries)} queries have there"
        )
    distractor = DISTRACTOR if distractors else None
    return RetrievalImages(root, queries, gallery, cameras_named=named, distractor=distractor, **reading)


def _read_part(folder: Path, notes: list[str], *, without: Sequence[int], cameras: bool) -> list[Shot]:
    """The images of a folder but those of some identities; what is left out is added to ``notes``."""
    shots = read_folder(folder, cameras=cameras)
    people = [shot for shot in shots if shot.identity not in without]
    listed = " and ".join(map(str, sorted(without)))
    if not people:
        raise DataError(f"all {len(shots)} images in {folder} are of identity {listed}: set another root")
    if len(people) < len(shots):
        notes.append(
            f"images of identity {listed} left out of {folder.name}: {len(shots) - len(people)} of {len(shots)}"
        )
    return people


def _shared(people: set[int], others: set[int]) -> list[str]:
    """A remark on identities that training images and queries have in common."""
    both = sorted(people & others)
    if not both:
        return []
    more = f" and {len(both) - NAMED} more" if len(both) > NAMED else ""
    who = f"{', '.join(map(str, both[:NAMED]))}{more}"
    return [
        f"{TRAIN} and {QUERY} share {len(both)} {'identity' if len(both) == 1 else 'identities'} ({who}): a test on "
        "people who were trained on says little about others"
    ]


def _first_and_others(shots: Sequence[Shot]) -> list[Shot]:
    """Training images without cameras: the first of a person is as if from one camera, the others from a second.

    So a held-out person gives one query, and all other images are in the gallery to be found.
    """
    seen: set[int] = set()
    numbered = []
    for shot in shots:
        numbered.append(shot._replace(camera=2 if shot.identity in seen else 1))
        seen.add(shot.identity)
    return numbered


def _own_pictures(queries: Sequence[Shot], gallery: Sequence[Shot]) -> tuple[list[Shot], int]:
    """Test images without cameras: each has a camera of its own, but for copies of a query, which have the query's.

    Returns:
        Queries and gallery in order, and how many queries have their own picture in the gallery.
    """
    shots = [*queries, *gallery]
    alike: dict[tuple[int, int], list[int]] = defaultdict(list)
    for place, shot in enumerate(shots):
        alike[shot.identity, _size(shot.path)].append(place)
    camera, repeated = list(range(1, len(shots) + 1)), set[int]()
    for places in alike.values():
        if places[0] >= len(queries) or len(places) == 1:
            continue
        first: dict[bytes, int] = {}
        for place in places:
            same = first.setdefault(_digest(shots[place].path), place)
            camera[place] = camera[same]
            if place >= len(queries) > same:
                repeated.add(camera[same])
    numbered = [shot._replace(camera=number) for shot, number in zip(shots, camera)]
    return numbered, sum(shot.camera in repeated for shot in numbered[: len(queries)])


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError as error:
        raise DataError(f"cannot read {path} ({brief(error)}): replace or remove it") from error


def _digest(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise DataError(f"cannot read {path} ({brief(error)}): replace or remove it") from error
