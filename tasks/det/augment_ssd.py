"""What SSD does to its training images besides zooming and flipping: crops by overlap, and colours."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_iou
from torchvision.transforms import functional as colours

from natx.errors import ConfigError
from natx.registry import AUGMENTS
from tasks.det.augment import BoxAugment
from tasks.det.datasets import Annotation

TRIES = 50


@AUGMENTS.register_module()
class BoxCrop(BoxAugment):
    """Crops each image to a part that keeps enough of every object, and resizes it to the image's own size.

    Liu et al. 2016, section 2.2, by the rules of mmdet's ``MinIoURandomCrop``: an overlap is drawn from ``overlaps``, 0
    (any part will do) and 1 (the image stays whole); up to 50 parts of sides between ``smallest`` and 1 and proportions
    between 1/2 and 2 are drawn until one has at least that IoU with every object. Objects whose centre is in the part
    stay, and a part without any does not count. Where no part fits, the image stays whole (mmdet draws another IoU).

    Args:
        overlaps: IoUs that are asked for.
        smallest: smallest side of the part, as a fraction.
    """

    stream, draws = 112, 1 + 4 * TRIES

    def __init__(self, overlaps: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9), *, smallest: float = 0.3) -> None:
        if not all(0 < overlap < 1 for overlap in overlaps) or not 0 < smallest <= 1:
            raise ConfigError(
                f"BoxCrop needs overlaps between 0 and 1 and 0 < smallest <= 1; got {overlaps} and {smallest}"
            )
        self.overlaps, self.smallest = (1.0, *overlaps, 0.0), smallest

    def apply(self, x: Tensor, annotation: Annotation, draw: list[float]) -> tuple[Tensor, Annotation]:
        """See :meth:`BoxAugment.apply`."""
        overlap = self.overlaps[int(draw[0] * len(self.overlaps))]
        if overlap == 1:
            return x, annotation
        height, width = annotation.shape
        boxes = annotation.resized_boxes
        for i in range(TRIES):
            across, down, right, below = draw[1 + 4 * i : 5 + 4 * i]
            wide, high = (
                int(n * (self.smallest + (1 - self.smallest) * u)) for n, u in zip((width, height), (across, down))
            )
            if not (wide and high and 0.5 <= high / wide <= 2):
                continue
            left, top = int((width - wide) * right), int((height - high) * below)
            part = boxes.new_tensor([left, top, left + wide, top + high])
            centre = (boxes[:, :2] + boxes[:, 2:]) / 2
            stay = ((centre > part[:2]) & (centre < part[2:])).all(1)
            if len(boxes) and (not bool(stay.any()) or float(box_iou(part[None], boxes).min()) < overlap):
                continue
            return self._cut(x, annotation, stay, (left, top, wide, high))
        return x, annotation

    def _cut(
        self, x: Tensor, annotation: Annotation, stay: Tensor, part: tuple[int, int, int, int]
    ) -> tuple[Tensor, Annotation]:
        (height, width), (left, top, wide, high) = annotation.shape, part
        cut = F.interpolate(
            x[None, :, top : top + high, left : left + wide],
            size=(height, width),
            mode="bilinear",
            antialias=True,
            align_corners=False,
        )[0]
        image = x.clone()
        image[:, :height, :width] = cut.clamp(0, 1)
        boxes = annotation.resized_boxes[stay]
        scale = boxes.new_tensor([width / wide, height / high] * 2)
        boxes = (boxes - boxes.new_tensor([left, top] * 2)) * scale
        limits = boxes.new_tensor([width, height] * 2)
        changed = replace(
            annotation,
            boxes=torch.minimum(boxes.clamp_min(0), limits),
            labels=annotation.labels[stay],
            difficult=annotation.difficult[stay],
            original=(height, width),
            scale=(1.0, 1.0),
            edge=annotation.edge * annotation.scale[0] * width / wide,
        )
        return image, changed


@AUGMENTS.register_module()
class ColourDistortion(BoxAugment):
    """Changes brightness, contrast, saturation and hue, each with probability 1/2, as SSD trains (Howard 2013).

    The ranges are those of mmdet's ``PhotoMetricDistortion``; contrast comes before or after saturation and hue.
    Padding keeps its value. Deviation: channels are not exchanged, and values are clipped to [0,1] after every change.

    Args:
        brightness: greatest change of all channels, in pixel units of [0,1].
        contrast: smallest and greatest factor of all channels.
        saturation: smallest and greatest factor of the saturation.
        hue: greatest turn of the hue, in whole turns.
    """

    stream, draws = 113, 9

    def __init__(
        self,
        brightness: float = 32 / 255,
        contrast: tuple[float, float] = (0.5, 1.5),
        *,
        saturation: tuple[float, float] = (0.5, 1.5),
        hue: float = 18 / 360,
    ) -> None:
        if not (0 <= brightness <= 1 and 0 <= hue <= 0.5 and 0 <= contrast[0] <= contrast[1]):
            raise ConfigError(
                "ColourDistortion needs brightness in [0,1], contrast from 0 and hue in [0, 0.5]; got "
                f"{brightness}, {contrast} and {hue}"
            )
        self.brightness, self.contrast, self.saturation, self.hue = brightness, contrast, saturation, hue

    def apply(self, x: Tensor, annotation: Annotation, draw: list[float]) -> tuple[Tensor, Annotation]:
        """See :meth:`BoxAugment.apply`."""
        height, width = annotation.shape
        image = x[:, :height, :width]
        flags, amounts, early = [u < 0.5 for u in draw[:4]], draw[4:8], draw[8] < 0.5
        if flags[0]:
            image = (image + self.brightness * (2 * amounts[0] - 1)).clamp(0, 1)
        if flags[1] and early:
            image = self._contrast(image, amounts[1])
        if flags[2]:
            low, high = self.saturation
            image = colours.adjust_saturation(image, low + (high - low) * amounts[2]).clamp(0, 1)
        if flags[3]:
            image = colours.adjust_hue(image, self.hue * (2 * amounts[3] - 1)).clamp(0, 1)
        if flags[1] and not early:
            image = self._contrast(image, amounts[1])
        distorted = x.clone()
        distorted[:, :height, :width] = image
        return distorted, annotation

    def _contrast(self, image: Tensor, amount: float) -> Tensor:
        low, high = self.contrast
        return (image * (low + (high - low) * amount)).clamp(0, 1)
