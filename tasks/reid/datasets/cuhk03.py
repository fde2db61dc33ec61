"""CUHK03 under the new protocol: 767 people for training, 700 others to search for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from natx.errors import ConfigError, DataError
from natx.registry import DATASETS
from tasks.reid.datasets.images import RetrievalImages, TrainingImages
from tasks.reid.datasets.layout import Shot, is_layout
from tasks.reid.datasets.market import Market1501

Boxes = Literal["detected", "labeled"]


@DATASETS.register_module()
def CUHK03(
    root: str | Path = "data/cuhk03",
    train: bool = True,
    *,
    boxes: Boxes = "detected",
    height: int = 256,
    width: int = 128,
    threads: int = 0,
) -> TrainingImages | RetrievalImages:
    """CUHK03 under the new protocol (767/700), in either of the forms in which it is handed around.

    - CUHK03-NP: ``<boxes>/bounding_box_train``, ``query`` and ``bounding_box_test``, as Market-1501.
    - ``cuhk03_new_protocol_config_<boxes>.mat`` beside ``images_<boxes>`` (as torchreid unpacks ``cuhk-03.mat``), whose
      names are ``<pair>_<person>_<camera>_<number>.png``.

    Args:
        root: folder of the data set.
        train: the training images, else queries and gallery.
        boxes: of a detector, or drawn by hand.
        height: of the images in pixels.
        width: of the images in pixels.
        threads: decode a batch with this many threads; 0 decodes in the caller's.

    Returns:
        :class:`TrainingImages`, or :class:`RetrievalImages` without ``train``.

    Raises:
        DataError: neither form is there, or a file of it says something else.
        ConfigError: unknown boxes, size or threads out of range.

    Source: Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding" (CVPR 2017), section 4.1;
    images: Li et al., "DeepReID" (CVPR 2014).
    """
    if boxes not in ("detected", "labeled"):
        raise ConfigError(f"boxes is 'detected' or 'labeled'; got {boxes!r}")
    root = Path(root).expanduser()
    reading: dict[str, Any] = {"height": height, "width": width, "threads": threads}
    if is_layout(root / boxes):
        return Market1501(root / boxes, train, **reading)
    split, folder = root / f"cuhk03_new_protocol_config_{boxes}.mat", root / f"images_{boxes}"
    if not split.is_file() or not folder.is_dir():
        raise DataError(
            f"{root} has neither {boxes}/bounding_box_train and its like (CUHK03-NP) nor {split.name} with the images "
            f"in {folder.name}: set root to one of them"
        )
    parts = _read(split, folder)
    if train:
        return TrainingImages(root, parts["train"], **reading)
    return RetrievalImages(root, parts["query"], parts["gallery"], **reading)


def _read(split: Path, folder: Path) -> dict[str, list[Shot]]:
    """The images of training, queries and gallery as the split lists them."""
    try:
        content = loadmat(split)
        names = [str(cell.item()) for cell in content["filelist"].ravel()]
        labels = content["labels"].ravel().astype(np.int64).tolist()
        cameras = [int(name.split("_")[2]) for name in names]
        shots = [
            Shot(os.path.join(folder, name), identity, camera)
            for name, identity, camera in zip(names, labels, cameras, strict=True)
        ]
        # MATLAB counts from 1.
        places = {part: content[f"{part}_idx"].ravel().astype(np.int64) - 1 for part in ("train", "query", "gallery")}
        if any(place.min() < 0 for place in places.values()):
            raise IndexError("an index below 1")
        return {part: [shots[i] for i in place.tolist()] for part, place in places.items()}
    except (OSError, ValueError, KeyError, IndexError, NotImplementedError, MatReadError) as error:
        raise DataError(f"{split} is no split of the new protocol ({error}): download it again") from error
