"""MSMT17: folders of persons, and lists that say which images are for what."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from natx.errors import DataError
from natx.registry import DATASETS
from tasks.reid.datasets.images import RetrievalImages, TrainingImages
from tasks.reid.datasets.layout import Shot

# The image folders of version 1, and of version 2, whose faces are masked.
TRAIN_FOLDERS, TEST_FOLDERS = ("train", "mask_train_v2"), ("test", "mask_test_v2")
_CAMERA = re.compile(r"\d+_\d+_(\d{1,18})_", re.ASCII)  # 0000_000_01_0303morning_0008_0.jpg: camera 1


@DATASETS.register_module()
def MSMT17(
    root: str | Path = "data/MSMT17_V1",
    train: bool = True,
    *,
    validation: bool = True,
    height: int = 256,
    width: int = 128,
    threads: int = 0,
) -> TrainingImages | RetrievalImages:
    """MSMT17, version 1 or 2: ``list_{train,val,query,gallery}.txt`` beside the folders of training and test images.

    Identities are numbered from 0 in each part, and all are people: there are neither distractors nor junk.

    Args:
        root: folder of the data set.
        train: the training images, else queries and gallery.
        validation: train on the images of ``list_val.txt``, too, as most results do (32,621 images); they are of the
            training identities.
        height: of the images in pixels.
        width: of the images in pixels.
        threads: decode a batch with this many threads; 0 decodes in the caller's.

    Returns:
        :class:`TrainingImages`, or :class:`RetrievalImages` without ``train``.

    Raises:
        DataError: lists or folders missing, lines that do not say path and identity, names without a camera.
        ConfigError: size or threads out of range.

    Source: Wei et al., "Person Transfer GAN to Bridge Domain Gap for Person Re-Identification" (CVPR 2018).
    """
    root = Path(root).expanduser()
    reading: dict[str, Any] = {"height": height, "width": width, "threads": threads}
    if train:
        folder, parts = _folder(root, TRAIN_FOLDERS), ("train", "val") if validation else ("train",)
        return TrainingImages(root, [shot for part in parts for shot in _read(root, part, folder)], **reading)
    folder = _folder(root, TEST_FOLDERS)
    return RetrievalImages(root, _read(root, "query", folder), _read(root, "gallery", folder), **reading)


def _folder(root: Path, names: tuple[str, str]) -> Path:
    for name in names:
        if (root / name).is_dir():
            return root / name
    raise DataError(f"{root} has no folder {' or '.join(names)}: unpack MSMT17 there or set root to it")


def _read(root: Path, part: str, folder: Path) -> list[Shot]:
    """The images of a list in its order."""
    path = root / f"list_{part}.txt"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path} ({error}): it lists images of MSMT17 with their identities") from error
    shots = []
    for number, line in enumerate(lines, 1):
        name, _, identity = line.strip().rpartition(" ")
        camera = _CAMERA.match(os.path.basename(name))
        if camera is None or not identity.isdecimal():
            raise DataError(
                f"line {number} of {path} is {line[:80]!r}: expected an image and its identity, as in "
                "0000/0000_000_01_0303morning_0008_0.jpg 0"
            )
        shots.append(Shot(os.path.join(folder, name), int(identity), int(camera[1])))
    if not shots:
        raise DataError(f"{path} is empty: unpack MSMT17 again")
    return shots
