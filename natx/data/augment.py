"""Batch augmentations that run on the device of the batch.

Each is called with a float batch ``[N, C, H, W]`` in [0, 1] and the ``index`` of each image in its data set.
The draws come from :func:`natx.runtime.rng.uniform`, keyed by (seed, epoch, index, stream), so what happens to an
image does not depend on the batch it is in, on the number of processes or on any global generator. Two
augmentations of the same class in one pipeline would draw the same numbers. (:class:`Mixup`, in a file of its own,
changes labels with pixels and gets the whole batch.)

Two views of one image (clean and adversarial) with the same (index, seed, epoch) get the same change, and none
of these changes enlarges the Linf distance of the two views (:class:`RandomResizedCrop`: up to rounding).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import ClassVar, cast

import torch
from torch import Tensor

from natx.data.mixup import Mixup
from natx.errors import ConfigError
from natx.registry import AUGMENTS
from natx.runtime.rng import uniform

__all__ = ["Mixup", "RandomCrop", "RandomErasing", "RandomFlip", "RandomResizedCrop"]


def _check(x: Tensor, index: Tensor) -> None:
    if x.dim() != 4 or not x.is_floating_point():
        raise ValueError(f"an augmentation needs a float batch [N, C, H, W]; got {x.dtype} {list(x.shape)}")
    if index.shape != (x.shape[0],):
        raise ValueError(f"index must be [{x.shape[0]}], one per image; got {list(index.shape)}")


def _format_of(x: Tensor) -> torch.memory_format:
    """The memory format an output should have to match ``x`` (contiguous where both descriptions fit)."""
    if not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format


def _pick(u: Tensor, count: Tensor | int) -> Tensor:
    """Maps u in [0, 1) to an integer in 0..count-1; ``u * count`` may round up to count, hence the clamp."""
    top = count - 1
    picked = (u * count).floor().to(torch.int64)
    return torch.minimum(picked, top) if isinstance(top, Tensor) else picked.clamp_(max=top)


def _probability(owner: str, p: float) -> float:
    if not isinstance(p, Real) or not 0.0 <= p <= 1.0:
        raise ConfigError(f"{owner}: p must be in [0, 1]; got {p!r}")
    return float(p)


def _range(owner: str, name: str, pair: Sequence[float]) -> tuple[float, float]:
    numbers = isinstance(pair, Sequence) and len(pair) == 2 and all(isinstance(v, Real) for v in pair)
    if not numbers or not 0 < pair[0] <= pair[1] < math.inf:
        raise ConfigError(f"{owner}: {name} must be (low, high), 0 < low <= high; got {pair!r}")
    if name == "scale" and pair[1] > 1:
        raise ConfigError(f"{owner}: scale is a fraction of the image, at most 1; got {pair!r}")
    return float(pair[0]), float(pair[1])


@AUGMENTS.register_module()
class RandomCrop:
    """Pads every side and crops back to the original size at a random whole-pixel offset (no interpolation).

    Args:
        padding: pixels added on every side; offsets are uniform on 0..2*padding in each direction.
        mode: what the padding holds: ``'constant'`` (zeros) or ``'reflect'`` (mirror without repeating the
            edge).

    Raises:
        ConfigError: padding is negative or not an integer, mode is unknown, or a reflection is as large as
            the image.

    Source: the standard CIFAR augmentation (He et al., "Deep Residual Learning", CVPR 2016, section 4.2).
    """

    stream: ClassVar[int] = 101
    moves_pixels: ClassVar[bool] = True

    def __init__(self, padding: int = 4, mode: str = "constant") -> None:
        if not isinstance(padding, int) or padding < 0:
            raise ConfigError(f"RandomCrop: padding must be an integer >= 0; got {padding!r}")
        if mode not in ("constant", "reflect"):
            raise ConfigError(f"RandomCrop: mode must be 'constant' or 'reflect'; got {mode!r}")
        self.padding, self.mode = padding, mode

    def __call__(self, x: Tensor, *, index: Tensor, seed: int, epoch: int) -> Tensor:
        """Crops each image of ``x`` [N, C, H, W] at its own offset; shape, dtype and device are kept."""
        _check(x, index)
        u = uniform(index.to(x.device), (2,), seed=seed, epoch=epoch, stream=self.stream)
        offset = _pick(u, 2 * self.padding + 1)
        return self.crop(x, top=offset[:, 0], left=offset[:, 1])

    def crop(self, x: Tensor, *, top: Tensor, left: Tensor) -> Tensor:
        """Crops at given offsets into the padded image.

        Args:
            x: batch ``[N, C, H, W]``.
            top: first row of each crop in its padded image, int64 ``[N]``, 0..2*padding.
            left: first column, likewise.

        Returns:
            ``[N, C, H, W]``.
        """
        height, width = x.shape[-2:]
        if self.mode == "reflect" and self.padding >= min(height, width):
            raise ConfigError(
                f"RandomCrop: reflect padding of {self.padding} needs images larger than that; got "
                f"{height}x{width}; use a smaller padding or mode='constant'"
            )
        rows = top[:, None] + torch.arange(-self.padding, height - self.padding, device=x.device)  # [N, H]
        cols = left[:, None] + torch.arange(-self.padding, width - self.padding, device=x.device)  # [N, W]
        # Index arithmetic instead of a padded copy: each output pixel knows the source pixel it shows. One flat
        # index, shared by the channels, takes half the time of indexing by image, row and column (on a CPU).
        source = (self._source(rows, height) * width)[:, :, None] + self._source(cols, width)[:, None, :]
        flat = source.flatten(1)[:, None].expand(-1, x.shape[1], -1)  # [N, C, H*W]
        out = x.flatten(2).gather(2, flat).view(x.shape)
        if self.mode == "constant":
            inside = ((rows >= 0) & (rows < height))[:, :, None] & ((cols >= 0) & (cols < width))[:, None, :]
            out = out.masked_fill(~inside[:, None], 0.0)
        return out.contiguous(memory_format=_format_of(x))

    def _source(self, position: Tensor, size: int) -> Tensor:
        if self.mode == "constant":
            return position.clamp(0, size - 1)
        return (size - 1) - ((size - 1) - position.abs()).abs()


@AUGMENTS.register_module()
class RandomFlip:
    """Mirrors each image left-right with probability ``p``.

    Args:
        p: probability in [0, 1].

    Raises:
        ConfigError: p is outside [0, 1].
    """

    stream: ClassVar[int] = 102
    moves_pixels: ClassVar[bool] = True

    def __init__(self, p: float = 0.5) -> None:
        self.p = _probability("RandomFlip", p)

    def __call__(self, x: Tensor, *, index: Tensor, seed: int, epoch: int) -> Tensor:
        """Mirrors some images of ``x`` [N, C, H, W]; shape, dtype, device and memory format are kept."""
        _check(x, index)
        u = uniform(index.to(x.device), (1, 1, 1), seed=seed, epoch=epoch, stream=self.stream)
        return torch.where(u < self.p, x.flip(-1), x).contiguous(memory_format=_format_of(x))


@AUGMENTS.register_module()
class RandomResizedCrop:
    """Crops a random box of each image and resizes it to ``size x size``.

    The box is drawn as in torchvision (area uniform in ``scale``, aspect ratio log-uniform in ``ratio``,
    whole pixels, uniform position), with one difference: a box that sticks out of the image is clamped to it,
    where torchvision draws up to ten times and then falls back to a centre crop; so boxes of nearly the whole
    image come slightly smaller here. The resize is bilinear *with* antialiasing, as torchvision's
    ``resized_crop(antialias=True)``: it is separable, hence two batched matrix products with per-image
    weights, which is exact when nothing is resized. With TF32 matrix products allowed, pixels are accurate to
    about 1/8 of a grey level. The boxes never depend on the batch, but the order of the sums may, so
    pixels can differ by rounding (1e-7) between batch sizes.

    Args:
        size: side of the output in pixels.
        scale: smallest and largest area of the box as a fraction of the image.
        ratio: smallest and largest width / height of the box.

    Raises:
        ConfigError: size < 1, or a range that is not increasing or not positive, or scale above 1.

    Source: Szegedy et al., "Going Deeper with Convolutions" (CVPR 2015), section 6.
    """

    stream: ClassVar[int] = 103
    moves_pixels: ClassVar[bool] = True
    picks_pixels: ClassVar[bool] = False  # it blends them

    def __init__(
        self, size: int, scale: Sequence[float] = (0.08, 1.0), *, ratio: Sequence[float] = (3 / 4, 4 / 3)
    ) -> None:
        if not isinstance(size, int) or size < 1:
            raise ConfigError(f"RandomResizedCrop: size must be an integer >= 1; got {size!r}")
        self.size = size
        self.scale = _range("RandomResizedCrop", "scale", scale)
        self.ratio = _range("RandomResizedCrop", "ratio", ratio)

    def __call__(self, x: Tensor, *, index: Tensor, seed: int, epoch: int) -> Tensor:
        """Resizes a box of each image of ``x`` [N, C, H, W] to ``[N, C, size, size]``; dtype, device kept."""
        _check(x, index)
        u = uniform(index.to(x.device), (4,), seed=seed, epoch=epoch, stream=self.stream)
        return self.resize(x, self.boxes(u, height=x.shape[-2], width=x.shape[-1]))

    def boxes(self, u: Tensor, *, height: int, width: int) -> Tensor:
        """Boxes inside a ``height x width`` image from uniform numbers.

        Args:
            u: numbers in [0, 1), float ``[N, 4]``: area, aspect ratio, top, left.
            height: rows of the image.
            width: columns of the image.

        Returns:
            int64 ``[N, 4]``: top, left, box height, box width in pixels.
        """
        area = (self.scale[0] + (self.scale[1] - self.scale[0]) * u[:, 0]) * (height * width)
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        aspect = torch.exp(low + (high - low) * u[:, 1])
        h = torch.sqrt(area / aspect).round().to(torch.int64).clamp_(1, height)
        w = torch.sqrt(area * aspect).round().to(torch.int64).clamp_(1, width)
        return torch.stack((_pick(u[:, 2], height - h + 1), _pick(u[:, 3], width - w + 1), h, w), dim=1)

    def resize(self, x: Tensor, boxes: Tensor) -> Tensor:
        """Antialiased bilinear resize of one box per image.

        Args:
            x: batch ``[N, C, H, W]`` in [0, 1].
            boxes: int64 ``[N, 4]``: top, left, height, width, inside the image.

        Returns:
            ``[N, C, size, size]`` in [0, 1], dtype of ``x``.
        """
        dtype = x.dtype if x.dtype in (torch.float32, torch.float64) else torch.float32
        rows = _weights(boxes[:, 0], boxes[:, 2], source=x.shape[-2], target=self.size, dtype=dtype)
        cols = _weights(boxes[:, 1], boxes[:, 3], source=x.shape[-1], target=self.size, dtype=dtype)
        # Autocast would do the products in 8 bits of mantissa or fewer, which is visible in pixels.
        with torch.autocast(x.device.type, enabled=False):
            out = torch.einsum("nchw,ntw->ncht", x.to(dtype), cols)
            out = torch.einsum("ncht,nsh->ncst", out, rows)
        # Weights sum to 1 only up to rounding.
        return out.clamp_(0.0, 1.0).to(x.dtype).contiguous(memory_format=_format_of(x))


def _weights(start: Tensor, length: Tensor, *, source: int, target: int, dtype: torch.dtype) -> Tensor:
    """Weights [N, target, source] of an antialiased linear resize of a box side to ``target`` pixels.

    A triangle centred on the output pixel, as wide as one source pixel or, when shrinking, one output pixel;
    source pixels outside the box have no weight, as if the box had been cut out first.
    """
    pixel = torch.arange(source, device=start.device)
    inside = (pixel >= start[:, None]) & (pixel < (start + length)[:, None])  # [N, source]
    step = length.to(dtype) / target  # source pixels per output pixel, [N]
    centre = start[:, None] + (torch.arange(target, device=start.device, dtype=dtype) + 0.5) * step[:, None]
    distance = (pixel.to(dtype) + 0.5 - centre[:, :, None]).abs() / step.clamp(min=1.0)[:, None, None]
    weight = (1.0 - distance).clamp_(min=0.0) * inside[:, None, :]
    return weight / weight.sum(dim=-1, keepdim=True)


@AUGMENTS.register_module()
class RandomErasing:
    """Erases one random rectangle of each image with probability ``p``.

    The defaults are those of the BoT person re-identification baseline, and the rectangle is drawn as in its code:
    area uniform in ``scale``, height / width uniform in ``ratio`` (not its logarithm, so upright rectangles are
    more common), whole pixels, drawn again where it is not smaller than the image in both directions, uniform
    position. (Algorithm 1 of the paper draws the position too before it asks whether the rectangle fits.)
    Deviations: BoT tries up to 100 times, here the first of :attr:`tries` that fits is taken, and an image for
    which none fits stays whole (defaults, 256x128 pixels: fewer than one in 10^12 images); a side is at least one
    pixel; BoT writes its value after normalisation, where 0.485 is a grey lighter than the mean, while natx's
    pixels are not normalised and the default is the ImageNet mean itself.

    Args:
        p: probability in [0, 1].
        scale: smallest and largest area of the rectangle as a fraction of the image.
        ratio: smallest and largest height / width of the rectangle.
        value: what the rectangle holds, in pixels of [0, 1]: one number, one number per channel, or ``'random'``
            for uniform noise, independent per pixel and channel.

    Raises:
        ConfigError: p is outside [0, 1], a range is not increasing or not positive, scale is above 1, a value is
            outside [0, 1]; or, in a call, the values are neither one nor as many as the channels.

    Source: Zhong et al., "Random Erasing Data Augmentation" (AAAI 2020), algorithm 1; Luo et al., "Bag of Tricks
    and A Strong Baseline for Deep Person Re-Identification" (CVPR Workshops 2019), section 3.2.
    """

    stream: ClassVar[int] = 104
    noise_stream: ClassVar[int] = 105
    tries: ClassVar[int] = 10

    def __init__(
        self,
        p: float = 0.5,
        scale: Sequence[float] = (0.02, 0.4),
        *,
        ratio: Sequence[float] = (0.3, 1 / 0.3),
        value: float | Sequence[float] | str = (0.485, 0.456, 0.406),
    ) -> None:
        self.p = _probability("RandomErasing", p)
        self.scale = _range("RandomErasing", "scale", scale)
        self.ratio = _range("RandomErasing", "ratio", ratio)
        self.value = self._values(value)

    def __call__(self, x: Tensor, *, index: Tensor, seed: int, epoch: int) -> Tensor:
        """Erases some images of ``x`` [N, C, H, W]; shape, dtype, device and memory format are kept."""
        _check(x, index)
        index = index.to(x.device)
        u = uniform(index, (3 + 2 * self.tries,), seed=seed, epoch=epoch, stream=self.stream)
        boxes = self.boxes(u, height=x.shape[-2], width=x.shape[-1])
        if self.value == "random":
            noise = uniform(index, x.shape[1:], seed=seed, epoch=epoch, stream=self.noise_stream)
            return self.erase(x, boxes, fill=noise.to(x.dtype))
        return self.erase(x, boxes, fill=self._constant(x))

    def boxes(self, u: Tensor, *, height: int, width: int) -> Tensor:
        """Rectangles inside a ``height x width`` image from uniform numbers.

        Args:
            u: numbers in [0, 1), float ``[N, 3 + 2 * tries]``: whether to erase, top, left, then area and ratio
                of each try.
            height: rows of the image.
            width: columns of the image.

        Returns:
            int64 ``[N, 4]``: top, left, rectangle height, rectangle width in pixels; height and width are 0 where
            nothing is erased.
        """
        area = (self.scale[0] + (self.scale[1] - self.scale[0]) * u[:, 3::2]) * (height * width)  # [N, tries]
        ratio = self.ratio[0] + (self.ratio[1] - self.ratio[0]) * u[:, 4::2]
        h = torch.sqrt(area * ratio).round().to(torch.int64).clamp_(min=1)
        w = torch.sqrt(area / ratio).round().to(torch.int64).clamp_(min=1)
        fits = (h < height) & (w < width)
        first = fits.to(torch.uint8).argmax(dim=1, keepdim=True)  # of equal numbers argmax gives the first
        erased = (u[:, 0] < self.p) & fits.any(dim=1)
        h, w = (side.gather(1, first)[:, 0] * erased for side in (h, w))
        return torch.stack((_pick(u[:, 1], height - h + 1), _pick(u[:, 2], width - w + 1), h, w), dim=1)

    def erase(self, x: Tensor, boxes: Tensor, *, fill: Tensor) -> Tensor:
        """Replaces one rectangle per image.

        Args:
            x: batch ``[N, C, H, W]``.
            boxes: int64 ``[N, 4]``: top, left, height, width in pixels; an empty rectangle changes nothing.
            fill: new pixels, dtype of ``x``, of a shape that broadcasts to that of ``x``.

        Returns:
            ``[N, C, H, W]``.
        """
        top, left, h, w = boxes[:, :, None].unbind(1)  # each [N, 1]
        row, col = (torch.arange(size, device=x.device) for size in x.shape[-2:])
        rows, cols = (row >= top) & (row < top + h), (col >= left) & (col < left + w)
        inside = (rows[:, :, None] & cols[:, None, :])[:, None]  # [N, 1, H, W]
        return torch.where(inside, fill, x).contiguous(memory_format=_format_of(x))

    @staticmethod
    def _values(value: float | Sequence[float] | str) -> tuple[float, ...] | str:
        if isinstance(value, str) and value == "random":
            return value
        values = cast(Sequence[float], (value,) if isinstance(value, Real) else value)
        numbers = isinstance(values, Sequence) and all(isinstance(v, Real) and 0 <= v <= 1 for v in values)
        if not numbers or len(values) == 0:
            raise ConfigError(
                f"RandomErasing: value must be a number in [0, 1], one per channel, or 'random'; got {value!r}"
            )
        return tuple(float(v) for v in values)

    def _constant(self, x: Tensor) -> Tensor:
        if len(self.value) not in (1, x.shape[1]):
            raise ConfigError(
                f"RandomErasing: value has {len(self.value)} numbers but the images have {x.shape[1]} channel(s); give "
                "one number, or one per channel"
            )
        # Without non_blocking the copy of these few numbers would make the host wait for the device.
        return torch.tensor(self.value, dtype=x.dtype).view(1, -1, 1, 1).to(x.device, non_blocking=True)
