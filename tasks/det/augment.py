"""Augmentations that move boxes with their images, for training batches of detection.

Each takes the whole batch after :meth:`DetectionTask.pixels` (float inputs) and draws from (seed, epoch, image index),
as :mod:`natx.data.augment` does. Boxes of an augmented image are in pixels of the augmented image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from natx.batch import Batch
from natx.errors import ConfigError
from natx.registry import AUGMENTS
from natx.runtime.rng import uniform
from tasks.det.datasets import Annotation, DetectionImages


class BoxAugment:
    """Base: draws per image, and the protocol that the learner knows by ``whole_batch``."""

    whole_batch: ClassVar[bool] = True
    stream: ClassVar[int]
    draws: ClassVar[int]

    def __call__(self, batch: Batch, *, seed: int, epoch: int) -> Batch:
        """The batch with new ``inputs`` (float ``[N, 3, H, W]``) and ``data_samples``."""
        u = uniform(batch["index"], (self.draws,), seed=seed, epoch=epoch, stream=self.stream)
        pairs = [
            self.apply(x, annotation, draw)
            for x, annotation, draw in zip(batch["inputs"], batch["data_samples"], u.tolist())
        ]
        images, annotations = zip(*pairs)
        inputs = torch.stack(images)
        if batch["inputs"].is_contiguous(memory_format=torch.channels_last):
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        return {**batch, "inputs": inputs, "data_samples": list(annotations)}

    def apply(self, x: Tensor, annotation: Annotation, draw: list[float]) -> tuple[Tensor, Annotation]:
        """One image ``[3, H, W]`` and its objects, from ``draws`` numbers in [0, 1)."""
        raise NotImplementedError


@AUGMENTS.register_module()
class BoxFlip(BoxAugment):
    """Mirrors each image and its boxes left-right with probability ``p``; padding stays where it is.

    Args:
        p: probability in [0, 1].
    """

    stream, draws = 110, 1

    def __init__(self, p: float = 0.5) -> None:
        if not 0.0 <= p <= 1.0:
            raise ConfigError(f"BoxFlip: p must be in [0, 1]; got {p!r}")
        self.p = float(p)

    def apply(self, x: Tensor, annotation: Annotation, draw: list[float]) -> tuple[Tensor, Annotation]:
        """See :meth:`BoxAugment.apply`."""
        if draw[0] >= self.p:
            return x, annotation
        height, width = annotation.shape
        flipped = x.clone()
        flipped[:, :height, :width] = x[:, :height, :width].flip(-1)
        left, top, right, bottom = annotation.boxes.unbind(1)
        whole = annotation.original[1] - annotation.edge  # the same pixels are inside afterwards
        return flipped, replace(annotation, boxes=torch.stack([whole - right, top, whole - left, bottom], 1))


@AUGMENTS.register_module()
class BoxZoom(BoxAugment):
    """Zooms out (the image on a larger grey ground) or in (a part of it, resized), with its boxes.

    The two SSD augmentations (Liu et al. 2016, section 3.6) in one, simplified: the scale is log-uniform, the place
    uniform, and one draw is made instead of sampling until an overlap is reached. An object stays if its centre
    does, as in SSD; where none would stay, the image is left as it is. Bilinear with antialiasing when shrinking.

    Args:
        out: greatest factor by which the image shrinks on its ground (SSD: 4).
        inside: smallest side of the part that is kept, as a fraction (SSD: 0.3).
        p: probability of each of the two.
        fill: grey value of the ground in [0,1].
    """

    stream, draws = 111, 4

    def __init__(self, out: float = 2.0, inside: float = 0.5, *, p: float = 0.5, fill: float = 0.46) -> None:
        if out < 1 or not 0 < inside <= 1 or not 0 <= p <= 0.5:
            raise ConfigError(f"BoxZoom needs out >= 1, 0 < inside <= 1 and 0 <= p <= 0.5; got {out}, {inside} and {p}")
        self.out, self.inside, self.p, self.fill = out, inside, p, fill

    def apply(self, x: Tensor, annotation: Annotation, draw: list[float]) -> tuple[Tensor, Annotation]:
        """See :meth:`BoxAugment.apply`."""
        choice, size, across, down = draw
        if choice >= 2 * self.p:
            return x, annotation
        height, width = annotation.shape
        low, high = (self.inside, 1.0) if choice < self.p else (1.0, self.out)
        side = low ** (1 - size) * high**size  # of the window, in sides of the image
        left, top = (width * (1 - side) * across, height * (1 - side) * down)  # negative when zooming out
        boxes = annotation.resized_boxes
        boxes = (boxes - boxes.new_tensor([left, top, left, top])) / side
        centre = (boxes[:, :2] + boxes[:, 2:]) / 2
        limits = boxes.new_tensor([width, height])
        stay = ((centre > 0) & (centre < limits)).all(1)
        if len(boxes) and not bool(stay.any()):
            return x, annotation
        boxes = torch.cat([boxes[:, :2].clamp_min(0), torch.minimum(boxes[:, 2:], limits)], 1)[stay]
        zoomed = x.clone()
        zoomed[:, :height, :width] = self._window(x[:, :height, :width], side=side, left=left, top=top)
        changed = replace(
            annotation,
            boxes=boxes,
            labels=annotation.labels[stay],
            difficult=annotation.difficult[stay],
            original=(height, width),
            scale=(1.0, 1.0),
            edge=annotation.edge * annotation.scale[0] / side,
        )
        return zoomed, changed

    def _window(self, x: Tensor, *, side: float, left: float, top: float) -> Tensor:
        """The window of an image, resized to the image's own size; outside it is grey."""
        height, width = x.shape[-2:]
        if side > 1:
            small = [max(1, round(length / side)) for length in (height, width)]
            shrunk = F.interpolate(x[None], size=small, mode="bilinear", antialias=True, align_corners=False)[0]
            ground = torch.full_like(x, self.fill)
            row, column = round(-top / side), round(-left / side)
            row, column = min(row, height - small[0]), min(column, width - small[1])
            ground[:, row : row + small[0], column : column + small[1]] = shrunk.clamp(0, 1)
            return ground
        rows, columns = max(1, round(height * side)), max(1, round(width * side))
        row, column = min(round(top), height - rows), min(round(left), width - columns)
        part = x[None, :, row : row + rows, column : column + columns]
        return F.interpolate(part, size=(height, width), mode="bilinear", align_corners=False)[0].clamp(0, 1)


@AUGMENTS.register_module()
class BoxResize:
    """Resizes images that were read larger than the detector takes them, with their boxes: the last augmentation.

    What :class:`BoxZoom` and :class:`~tasks.det.augment_ssd.BoxCrop` enlarge then has the detail of the larger image,
    as in SSD, whose parts are cut from the file: with ``data.train.size=(600, 600)`` before ``BoxResize((300, 300))`` a
    part of half a side is as sharp as the whole image, where one cut from 300 pixels would be blurred. Bilinear with
    antialiasing, as files are read. Images that are held out of training are read at this size.

    Args:
        size: height and width in pixels.

    Raises:
        ConfigError: a size below 1, or images with padding (``short``), which have no common proportions.
    """

    whole_batch: ClassVar[bool] = True

    def __init__(self, size: Sequence[int]) -> None:
        if len(size) != 2 or not all(isinstance(length, int) and length >= 1 for length in size):
            raise ConfigError(f"BoxResize: size is height and width in pixels; got {list(size)}")
        self.size = (size[0], size[1])

    def held_out(self, images: DetectionImages) -> DetectionImages:
        """Images that choose the best epoch, which see no augmentation, at the size that the detector learns at."""
        return images.resized(self.size)

    def __call__(self, batch: Batch, *, seed: int, epoch: int) -> Batch:
        """The batch with ``inputs`` (float ``[N, 3, *size]``) and ``data_samples`` of this size."""
        inputs, annotations = batch["inputs"], batch["data_samples"]
        before = tuple(inputs.shape[-2:])
        if any(annotation.shape != before for annotation in annotations):
            raise ConfigError("BoxResize is for images stretched to one size (data.train.size), and these have padding")
        if before == self.size:
            return batch
        resized = F.interpolate(inputs, size=self.size, mode="bilinear", antialias=True, align_corners=False)
        across, down = self.size[1] / before[1], self.size[0] / before[0]
        moved = [
            replace(annotation, shape=self.size, scale=(annotation.scale[0] * across, annotation.scale[1] * down))
            for annotation in annotations
        ]
        return {**batch, "inputs": resized.clamp(0, 1), "data_samples": moved}
