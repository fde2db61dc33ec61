"""Sets in the Pascal VOC layout."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from natx.errors import ConfigError
from natx.registry import DATASETS
from tasks.det.datasets.images import DetectionImages, checked_classes
from tasks.det.datasets.voc import VOC_CLASSES, find_root, read_annotations


@DATASETS.register_module()
class VOCDetection(DetectionImages):
    """Images with boxes in the Pascal VOC layout.

    Several sets can be joined: ``root=[VOC2007, VOC2012], split="trainval"``, or a split for each root. Images are in
    the order of the lists.

    Args:
        root: folder of the set, see :func:`tasks.det.datasets.voc.read_annotations`; a list joins several.
        split: name of the list of images, or a list of names: one for each root, or several of one root.
        classes: names of the classes in label order; VOC's 20 by default.

    The other arguments are those of :class:`tasks.det.datasets.images.DetectionImages`.

    Raises:
        DataError: as :func:`tasks.det.datasets.voc.read_annotations`, or no object of the classes at all.
        ConfigError: sizes, classes or threads that cannot be, or as many splits as do not fit the roots.
    """

    def __init__(
        self,
        root: str | Path | Sequence[str | Path] = "data/VOCdevkit/VOC2012",
        split: str | Sequence[str] = "trainval",
        *,
        train: bool = False,
        classes: Sequence[str] | None = None,
        size: Sequence[int] | None = None,
        short: int | None = None,
        long: int | None = None,
        divisor: int = 32,
        threads: int = 0,
    ) -> None:
        names = VOC_CLASSES if classes is None else checked_classes(classes)
        super().__init__(names, train=train, size=size, short=short, long=long, divisor=divisor, threads=threads)
        pairs, shots = _pairs(root, split), []
        for number, (folder, name) in enumerate(pairs):
            folder = find_root(folder)
            for shot in read_annotations(folder, name, classes=self.classes, notes=self.notes):
                shots.append((f"{number}/{Path(os.path.relpath(shot.path, folder)).as_posix()}", shot))
        self._fill(shots, where=", ".join(f"{folder} {name}" for folder, name in pairs))
        repeated = len(self) - len({annotation.path for annotation in self.annotations})
        if repeated:
            self.notes.append(f"images that several of the joined splits list: {repeated} of {len(self)}")


def _pairs(root: Any, split: Any) -> list[tuple[Any, str]]:
    """(root, split) of every set to join."""
    roots = [root] if isinstance(root, (str, Path)) else list(root)
    splits = [split] if isinstance(split, str) else list(split)
    if not roots or not splits or (len(roots) != len(splits) and 1 not in (len(roots), len(splits))):
        raise ConfigError(
            f"give one split for all roots, or one for each; got {len(roots)} roots, {len(splits)} splits"
        )
    count = max(len(roots), len(splits))
    pairs = list(zip(roots * (count // len(roots)), splits * (count // len(splits))))
    if len({(str(folder), name) for folder, name in pairs}) < count:
        raise ConfigError(f"the same root and split are joined twice: {', '.join(f'{f} {name}' for f, name in pairs)}")
    return pairs
