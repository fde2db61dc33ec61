"""Market-1501 and sets in its folder layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from natx.errors import DataError
from natx.registry import DATASETS
from tasks.reid.datasets.images import RetrievalImages, TrainingImages
from tasks.reid.datasets.layout import DISTRACTOR, GALLERY, JUNK, QUERY, TRAIN, Shot, find_root, read_folder


@DATASETS.register_module()
def Market1501(
    root: str | Path = "data/Market-1501-v15.09.15",
    train: bool = True,
    *,
    height: int = 256,
    width: int = 128,
    threads: int = 0,
) -> TrainingImages | RetrievalImages:
    """Market-1501, DukeMTMC-reID and other sets in the Market-1501 folder layout.

    ``root`` holds ``bounding_box_train``, ``query`` and ``bounding_box_test``, whose file names start with
    ``<identity>_c<camera>``. Images are in the order of their names. Identity -1 (junk) is left out everywhere;
    identity 0 (distractors) stays in the gallery and is left out elsewhere. What is left out is in ``notes``.

    Args:
        root: folder of the data set, or a folder with the data set as its only such subfolder.
        train: the training images, else queries and gallery.
        height: of the images in pixels.
        width: of the images in pixels.
        threads: decode a batch with this many threads; 0 decodes in the caller's.

    Returns:
        :class:`TrainingImages`, or :class:`RetrievalImages` without ``train``.

    Raises:
        DataError: folders missing or empty, file names that do not say identity and camera, fewer than 2 training
            identities; when an image is read: a broken image.
        ConfigError: size or threads out of range.

    Source: Zheng et al., "Scalable Person Re-identification: A Benchmark" (ICCV 2015).
    """
    root, notes = find_root(root), list[str]()
    reading: dict[str, Any] = {"height": height, "width": width, "threads": threads, "notes": notes}
    if train:
        return TrainingImages(root, _read_part(root / TRAIN, notes, without=(JUNK, DISTRACTOR)), **reading)
    queries = _read_part(root / QUERY, notes, without=(JUNK, DISTRACTOR))
    gallery = _read_part(root / GALLERY, notes, without=(JUNK,))
    return RetrievalImages(root, queries, gallery, **reading)


def _read_part(folder: Path, notes: list[str], *, without: Sequence[int]) -> list[Shot]:
    """The images of a folder but those of some identities; what is left out is added to ``notes``."""
    shots = read_folder(folder)
    people = [shot for shot in shots if shot.identity not in without]
    listed = " and ".join(map(str, sorted(without)))
    if not people:
        raise DataError(f"all {len(shots)} images in {folder} are of identity {listed}: set another root")
    if len(people) < len(shots):
        notes.append(
            f"images of identity {listed} left out of {folder.name}: {len(shots) - len(people)} of {len(shots)}"
        )
    return people
