"""Detection sets: images with boxes, resized and batched."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
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
from tasks.det.datasets.voc import Shot

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
        turned: the image is read as its EXIF orientation asks viewers to turn it; None where that is seen when it is
            read, by its size.
        edge: what lies between x2 and the right edge of the last pixel inside, in pixels of the original image: 1 where
            x2 is the place of that pixel (VOC), 0 where it is its edge (COCO).
        crowds: the difficult objects are regions of many (COCO's crowds), so that what lies inside one is about it,
            however small it is.
    """

    boxes: Tensor
    labels: Tensor
    difficult: Tensor
    shape: tuple[int, int]
    original: tuple[int, int]
    scale: tuple[float, float]
    path: str
    turned: bool | None = False
    edge: float = 0.0
    crowds: bool = False

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
        geometry = (self.shape, self.original, self.scale, self.path, self.turned, self.edge, self.crowds)
        return _restore, (arrays, *geometry)


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


class DetectionImages(BatchDataset):
    """Images with boxes, decoded when read, resized and padded, uint8 RGB; a layout of files is a subclass.

    Resizing is Pillow's bilinear filter, which averages when it shrinks; mmdet's pipelines do not, so the pixels differ
    a little from those that mmdet's published weights were trained on. Greyscale, palette and CMYK images become RGB.
    Images are read as they are stored, or turned as their EXIF orientation asks where the annotation's size shows that
    its boxes are on the turned image.

    A part of the set (``subset``, ``hold_out``) is a set of its own with its own ``annotations``; ``index`` stays the
    position in the whole set. There are no ``labels``: an image has many or none.

    Args:
        classes: names of the classes in label order.
        train: the images are to learn from; :meth:`for_evaluation` clears it. Images, boxes and sizes do not depend
            on it: flips and other augmentation are not the data set's.
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
        DataError: when an image is read: a broken image, or one of another size than its annotation says.
        ConfigError: sizes or threads that cannot be.
    """

    def __init__(
        self,
        classes: Sequence[str],
        *,
        train: bool,
        size: Sequence[int] | None,
        short: int | None,
        long: int | None,
        divisor: int,
        threads: int,
    ) -> None:
        if isinstance(threads, bool) or not isinstance(threads, int) or threads < 0:
            raise ConfigError(f"threads must be a whole number from 0; got {threads!r}")
        self.train, self.threads, self.classes = train, threads, tuple(classes)
        if size is None and short is None:
            size = SSD_SIZE
        sides: Any = tuple(size) if isinstance(size, Sequence) else size  # as a config has it; Resize checks it
        self.resize = Resize(sides, short, long, divisor)
        self.notes: list[str] = []
        self._names: list[str] = []  # what the fingerprint calls the images
        self._whole: list[Annotation] = []

    def _fill(self, shots: Sequence[tuple[str, Shot]], *, where: str) -> None:
        """Take the images, each with what the fingerprint calls it; once, by the subclass.

        Raises:
            DataError: no object of the classes at all, or to learn from none that is not difficult.
        """
        self._names = [name for name, _ in shots]
        self._whole = [self._annotation(shot) for _, shot in shots]
        remarks = f" ({'; '.join(self.notes)})" if self.notes else ""
        if not any(len(annotation.boxes) for annotation in self._whole):
            raise DataError(
                f"no object of the classes {', '.join(self.classes)} in {where}{remarks}: set classes to the names "
                "that the annotations use, or set another root or split"
            )
        if self.train and all(bool(annotation.difficult.all()) for annotation in self._whole):
            raise DataError(
                f"every object in {where} is difficult or a crowd, so there is none to learn from: clear the flag of "
                "those that are to be learnt, or train on another split"
            )
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

    @property
    def files(self) -> Sequence[str]:
        """See :attr:`natx.data.base.BatchDataset.files`."""
        return [annotation.path for annotation in self.annotations]

    def for_evaluation(self) -> DetectionImages:
        """The same images in the same order, not marked as images to learn from."""
        view = copy.copy(self)
        view.train = False
        return view

    def with_classes(self, classes: Sequence[str]) -> DetectionImages:
        """See :meth:`natx.data.base.BatchDataset.with_classes`."""
        place = {name: label for label, name in enumerate(classes)}
        order = torch.tensor([place[name] for name in self.classes], dtype=torch.int64)
        view = self._changed(lambda annotation: replace(annotation, labels=order[annotation.labels]))
        view.classes, view._digest = tuple(classes), self.fingerprint()
        return view

    def resized(self, size: Sequence[int]) -> DetectionImages:
        """The same images, stretched to a height and width when they are read."""
        resize = Resize(size=(size[0], size[1]))

        def stretched(annotation: Annotation) -> Annotation:
            height, width = annotation.original
            return replace(annotation, shape=resize.shape(height, width), scale=(size[1] / width, size[0] / height))

        view = self._changed(stretched)
        view.resize, view._digest = resize, None
        return view

    def _changed(self, change: Callable[[Annotation], Annotation]) -> DetectionImages:
        """A view whose annotations, those of the whole set and of this part, are changed alike."""
        changed = {id(annotation): change(annotation) for annotation in self._whole}
        view = copy.copy(self)
        view._whole = list(changed.values())
        view.annotations = [changed[id(annotation)] for annotation in self.annotations]
        return view

    def alike(self, positions: Sequence[int]) -> list[int]:
        """The positions in an order in which batches need little padding: by the proportions of the resized images."""
        if self.resize.size is not None:
            return list(positions)
        shapes = [self.annotations[position].shape for position in positions]
        order = sorted(range(len(shapes)), key=lambda i: shapes[i][0] / shapes[i][1])
        return [positions[i] for i in order]

    def subset(self, count: int) -> DetectionImages:
        """The first ``count`` images. Raises ConfigError for a count that leaves none or is too large."""
        return self._part(subset(range(len(self)), count).positions)

    def hold_out(self, count: int, seed: int = 0) -> tuple[DetectionImages, DetectionImages]:
        """Split into (training images, ``count`` held-out images as an evaluation shows them), drawn from ``seed``.

        Raises:
            ConfigError: a count that does not leave images on both sides.
        """
        training, heldout = hold_out(range(len(self)), count, seed=seed)
        return self._part(training.positions), self.for_evaluation()._part(heldout.positions)

    def _part(self, positions: Sequence[int]) -> DetectionImages:
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
            turned=shot.turned,
            edge=shot.edge,
            crowds=shot.crowds,
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
            way = "\tturned" if annotation.turned else ""
            yield f"{name}\t{size}\t{annotation.original}{way}\n".encode("utf-8", "surrogateescape")
            for values in (annotation.boxes, annotation.labels, annotation.difficult):
                yield values.numpy().tobytes()


def checked_classes(classes: Sequence[str]) -> tuple[str, ...]:
    """The names of the classes in a config; raises ConfigError where they are none, no names, or repeated."""
    if isinstance(classes, str) or not classes or not all(isinstance(name, str) and name.strip() for name in classes):
        raise ConfigError(f"classes must be a list of names; got {classes!r}")
    if len(set(classes)) < len(classes):
        raise ConfigError(f"classes must all differ; got {', '.join(classes)}")
    return tuple(classes)


def _opened(annotation: Annotation) -> Image.Image:
    """An image as its annotation has it; DataError where the sizes differ."""
    size = annotation.original[::-1]
    image = read_rgb(annotation.path, turned=bool(annotation.turned))
    if annotation.turned is None and image.size == size[::-1] != size:
        image = read_rgb(annotation.path, turned=True)
    if image.size != size:
        got, wanted = (f"{width} x {height}" for width, height in (image.size, size))
        raise DataError(
            f"{annotation.path} is {got} pixels and {wanted} for its annotation: correct the one or the other, and do "
            "not change a data set in a run"
        )
    return image


def _decode(annotation: Annotation, canvas: tuple[int, int]) -> np.ndarray:
    """An image, resized and padded to a canvas, uint8 [height, width, 3]."""
    image = _opened(annotation)
    image = image.resize(annotation.shape[::-1], Image.Resampling.BILINEAR)
    if annotation.shape == canvas:
        return np.asarray(image)
    padded = np.zeros((*canvas, 3), dtype=np.uint8)
    padded[: image.height, : image.width] = np.asarray(image)
    return padded
