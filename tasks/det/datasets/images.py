"""Detection sets: images with boxes, resized and batched."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from natx.batch import Batch
from natx.data.base import BatchDataset, brief
from natx.data.images import decode_batch, read_rgb
from natx.data.split import hold_out, subset
from natx.errors import ConfigError, DataError
from natx.registry import DATASETS
from tasks.det.datasets.voc import VOC_CLASSES, Shot, find_root, read_annotations

SSD_SIZE = (300, 300)


@dataclass(frozen=True, eq=False)
class Annotation:
    """The objects of one image, and how the image was resized.

    Attributes:
        boxes: x1, y1, x2, y2 in pixels of the ORIGINAL image, float32 ``[n, 4]``, which is what a metric compares.
        labels: class of each object, int64 ``[n]``.
        difficult: objects that training and evaluation do not ask for, bool ``[n]``.
        shape: height and width of the resized image inside the batch's images; what lies right of it and below it is
            padding.
        original: height and width of the image file.
        scale: (sx, sy), what resizing multiplies x and y by.
        path: of the image file.
    """

    boxes: Tensor
    labels: Tensor
    difficult: Tensor
    shape: tuple[int, int]
    original: tuple[int, int]
    scale: tuple[float, float]
    path: str

    @property
    def resized_boxes(self) -> Tensor:
        """The boxes in pixels of the resized image, float32 ``[n, 4]``, which is what losses compare."""
        return self.boxes * self.boxes.new_tensor(self.scale * 2)

    def to(self, device: torch.device | str) -> Annotation:
        """The annotation with its tensors on ``device``."""
        tensors = {name: getattr(self, name).to(device) for name in ("boxes", "labels", "difficult")}
        return replace(self, **tensors)

    def __reduce__(self) -> tuple[Any, ...]:
        # As arrays: a tensor that a loading process sends would take one of the few open files each.
        arrays = tuple(value.cpu().numpy() for value in (self.boxes, self.labels, self.difficult))
        return _restore, (arrays, self.shape, self.original, self.scale, self.path)


def _restore(arrays: Sequence[np.ndarray], *geometry: Any) -> Annotation:
    """An annotation from what :meth:`Annotation.__reduce__` gives; its tensors are on the CPU."""
    boxes, labels, difficult = map(torch.from_numpy, arrays)
    return Annotation(boxes, labels, difficult, *geometry)


@dataclass(frozen=True)
class Resize:
    """How images are resized: all to one ``size``, or the ``short`` side to a length, which keeps their proportions.

    Attributes:
        size: height and width in pixels.
        short: length of the shorter side in pixels.
        long: the longer side gets no longer than this, even where the shorter one gets less than ``short``.
        divisor: images of a batch are padded at the right and below, with zeros, to the largest of the batch, rounded
            up to a multiple of this; not with ``size``.

    Raises:
        ConfigError: both or neither of ``size`` and ``short``, or a number out of range.
    """

    size: tuple[int, int] | None = None
    short: int | None = None
    long: int | None = None
    divisor: int = 32

    def __post_init__(self) -> None:
        if (self.size is None) == (self.short is None):
            raise ConfigError(f"give either size=(height, width) or short; got size={self.size} and short={self.short}")
        sides = self.size if isinstance(self.size, tuple) else ()
        if self.size is not None and (len(sides) != 2 or not all(map(_is_length, sides))):
            raise ConfigError(f"size must be height and width, whole numbers from 1; got {self.size}")
        if self.size is not None and self.long is not None:
            raise ConfigError(f"long={self.long} goes with short, not with size={self.size}")
        for name in ("short", "long", "divisor"):
            value = getattr(self, name)
            if not _is_length(value) and (value is not None or name == "divisor"):
                raise ConfigError(f"{name} must be a whole number from 1; got {value!r}")
        if self.short is not None and self.long is not None and self.long < self.short:
            raise ConfigError(f"long={self.long} must be at least short={self.short}")

    def shape(self, height: int, width: int) -> tuple[int, int]:
        """Height and width that an image of height x width is resized to; rounded as mmcv's ``imrescale`` does."""
        if self.size is not None:
            return self.size
        assert self.short is not None  # as __post_init__ has checked
        factor = self.short / min(height, width)
        if self.long is not None:
            factor = min(factor, self.long / max(height, width))
        return max(1, int(height * factor + 0.5)), max(1, int(width * factor + 0.5))

    def canvas(self, shapes: Sequence[tuple[int, int]]) -> tuple[int, int]:
        """Height and width of a batch of images that are resized to ``shapes``."""
        if self.size is not None:
            return self.size
        height, width = (-(-max(sides) // self.divisor) * self.divisor for sides in zip(*shapes))
        return height, width


def _is_length(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


@DATASETS.register_module()
class VOCDetection(BatchDataset):
    """Images with boxes in the Pascal VOC layout, decoded when read, resized and padded, uint8 RGB.

    Several sets can be joined: ``root=[VOC2007, VOC2012], split="trainval"``, or a split for each root. Images are in
    the order of the lists. Resizing is Pillow's bilinear filter, which averages when it shrinks; mmdet's pipelines do
    not, so the pixels differ a little from those that mmdet's published weights were trained on. Greyscale, palette
    and CMYK images become RGB; EXIF orientation is ignored, as VOC's boxes do.

    A part of the set (``subset``, ``hold_out``) is a set of its own with its own ``annotations``; ``index`` stays the
    position in the whole set. There are no ``labels``: an image has many or none.

    Args:
        root: folder of the set, see :func:`tasks.det.datasets.voc.read_annotations`; a list joins several.
        split: name of the list of images, or a list of names: one for each root, or several of one root.
        train: the images are to learn from; :meth:`for_evaluation` clears it. Images, boxes and sizes do not depend
            on it: flips and other augmentation are not the data set's.
        classes: names of the classes in label order; VOC's 20 by default.
        size: height and width that all images are resized to, proportions not kept (SSD); (300, 300) by default.
        short: length of the shorter side instead, proportions kept (Faster R-CNN, RetinaNet).
        long: with ``short``: greatest length of the longer side.
        divisor: with ``short``: padded sizes are multiples of this.
        threads: decode a batch with this many threads; 0 decodes in the caller's.

    Attributes:
        annotations: the :class:`Annotation` of every image, on the CPU; known without decoding images.
        index: ``index`` of every image in a batch, int64 ``[len]``; not its position in a part of the set.
        classes: names of the classes in label order.
        notes: remarks that belong in a report, such as boxes left out.
        train: as given.

    Raises:
        DataError: as :func:`tasks.det.datasets.voc.read_annotations`, or no object of the classes at all; when an image
            is read: a broken image, or one that changed its size.
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
        if isinstance(threads, bool) or not isinstance(threads, int) or threads < 0:
            raise ConfigError(f"threads must be a whole number from 0; got {threads!r}")
        self.train, self.threads = train, threads
        self.classes = VOC_CLASSES if classes is None else _checked_classes(classes)
        if size is None and short is None:
            size = SSD_SIZE
        sides: Any = tuple(size) if isinstance(size, Sequence) else size  # as a config has it; Resize checks it
        self.resize = Resize(sides, short, long, divisor)
        self.notes: list[str] = []
        self._names: list[str] = []  # what the fingerprint calls the images: the root's number and the path below it
        self._whole: list[Annotation] = []
        pairs = _pairs(root, split)
        for number, (folder, name) in enumerate(pairs):
            folder = find_root(folder)
            shots = read_annotations(folder, name, classes=self.classes, notes=self.notes)
            self._whole += [self._annotation(shot) for shot in shots]
            self._names += [f"{number}/{Path(os.path.relpath(shot.path, folder)).as_posix()}" for shot in shots]
        if not any(len(annotation.boxes) for annotation in self._whole):
            where = ", ".join(f"{folder} {name}" for folder, name in pairs)
            raise DataError(
                f"no object of the classes {', '.join(self.classes)} in {where} ({'; '.join(self.notes)}): set classes "
                "to the names that the annotations use, or set another root or split"
            )
        repeated = len(self._whole) - len({annotation.path for annotation in self._whole})
        if repeated:
            self.notes.append(f"images that several of the joined splits list: {repeated} of {len(self._whole)}")
        self.annotations, self.index = self._whole, torch.arange(len(self._whole))

    def __len__(self) -> int:
        return len(self.annotations)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """A batch in the order of ``indices`` (negative ones count from the end).

        Returns:
            ``inputs`` uint8 [N, 3, H, W], zero right of and below each image's ``shape``; ``data_samples``, a list of
            N :class:`Annotation`; ``index`` int64 [N].

        Raises:
            IndexError: an index out of range.
            DataError: an image that cannot be read.
        """
        rows = torch.as_tensor(indices, dtype=torch.int64).reshape(-1)
        rows = torch.where(rows < 0, rows + len(self), rows)
        if rows.numel() and not 0 <= int(rows.min()) <= int(rows.max()) < len(self):
            raise IndexError(f"{type(self).__name__} has {len(self)} images; got the indices {list(indices)}")
        annotations = [self.annotations[row] for row in rows.tolist()]
        by_path = {annotation.path: annotation for annotation in annotations}
        canvas = self.resize.canvas([annotation.shape for annotation in annotations])
        inputs = decode_batch(
            [annotation.path for annotation in annotations],
            lambda path: _decode(by_path[path], canvas),
            threads=self.threads,
        )
        return {"inputs": inputs, "data_samples": annotations, "index": self.index[rows]}

    def for_evaluation(self) -> VOCDetection:
        """The same images in the same order, not marked as images to learn from."""
        view = copy.copy(self)
        view.train = False
        return view

    def with_classes(self, classes: Sequence[str]) -> VOCDetection:
        """See :meth:`natx.data.base.BatchDataset.with_classes`."""
        place = {name: label for label, name in enumerate(classes)}
        order = torch.tensor([place[name] for name in self.classes], dtype=torch.int64)
        renumbered = {id(a): replace(a, labels=order[a.labels]) for a in self._whole}
        view = copy.copy(self)
        view._whole = list(renumbered.values())
        view.annotations = [renumbered[id(annotation)] for annotation in self.annotations]
        view.classes, view._digest = tuple(classes), self.fingerprint()
        return view

    def subset(self, count: int) -> VOCDetection:
        """The first ``count`` images. Raises ConfigError for a count that leaves none or is too large."""
        return self._part(subset(range(len(self)), count).positions)

    def hold_out(self, count: int, seed: int = 0) -> tuple[VOCDetection, VOCDetection]:
        """Split into (training images, ``count`` held-out images as an evaluation shows them), drawn from ``seed``.

        Raises:
            ConfigError: a count that does not leave images on both sides.
        """
        training, heldout = hold_out(range(len(self)), count, seed=seed)
        return self._part(training.positions), self.for_evaluation()._part(heldout.positions)

    def _part(self, positions: Sequence[int]) -> VOCDetection:
        view = copy.copy(self)
        view.annotations = [self.annotations[i] for i in positions]
        view.index = self.index[list(positions)]
        return view

    def _annotation(self, shot: Shot) -> Annotation:
        shape = self.resize.shape(shot.height, shot.width)
        return Annotation(
            shot.boxes,
            shot.labels,
            shot.difficult,
            shape=shape,
            original=(shot.height, shot.width),
            scale=(shape[1] / shot.width, shape[0] / shot.height),
            path=shot.path,
        )

    def _content(self) -> Iterator[bytes]:
        """The whole set, of which a part has the fingerprint too."""
        yield f"{self.resize} {self.classes}\n".encode()
        for name, annotation in zip(self._names, self._whole):
            try:
                size = os.stat(annotation.path).st_size
            except OSError as error:
                raise DataError(
                    f"cannot read {annotation.path} ({brief(error)}); do not change a data set in a run"
                ) from error
            yield f"{name}\t{size}\t{annotation.original}\n".encode("utf-8", "surrogateescape")
            for values in (annotation.boxes, annotation.labels, annotation.difficult):
                yield values.numpy().tobytes()


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


def _checked_classes(classes: Sequence[str]) -> tuple[str, ...]:
    if isinstance(classes, str) or not classes or not all(isinstance(name, str) and name.strip() for name in classes):
        raise ConfigError(f"classes must be a list of names; got {classes!r}")
    if len(set(classes)) < len(classes):
        raise ConfigError(f"classes must all differ; got {', '.join(classes)}")
    return tuple(classes)


def _decode(annotation: Annotation, canvas: tuple[int, int]) -> np.ndarray:
    """An image, resized and padded to a canvas, uint8 [height, width, 3]."""
    image = read_rgb(annotation.path)
    if image.size != annotation.original[::-1]:
        height, width = annotation.original
        raise DataError(f"{annotation.path} was {width} x {height} pixels and is now {image.size[0]} x {image.size[1]}")
    image = image.resize(annotation.shape[::-1], Image.Resampling.BILINEAR)
    if annotation.shape == canvas:
        return np.asarray(image)
    padded = np.zeros((*canvas, 3), dtype=np.uint8)
    padded[: image.height, : image.width] = np.asarray(image)
    return padded
