"""What the pictures of the generated detection set are made of: textured grounds, clutter and handwritten digits.

All of it is computed in whole numbers from the raw output of PCG64, so the same keys give the same pixels on every
machine and with every version of numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple, TypeVar

import numpy as np
from sklearn.datasets import load_digits

T = TypeVar("T")

_STEPS = 32  # of a spline between two of its points
# Least and largest difference of brightness between a digit and the ground below it: plain to the eye, and so little
# that a change of 8 of 255 matters, as it does on photographs.
_CONTRAST = (40, 80)
_TINT = 30  # by how much each colour of a digit may differ from the ground's beyond that
_OVERLAP = 12  # percent of the smaller box that two boxes may share
_TRIES = 40
BREADTH = (95, 130)  # width of a digit's cell in percent of its height: the ink is a good half as wide


class Numbers:
    """Random whole numbers from a key."""

    def __init__(self, *key: int) -> None:
        self._source = np.random.PCG64(np.random.SeedSequence(key))

    def array(self, low: int, high: int, *shape: int) -> np.ndarray:
        """Uniform on low..high, both included, int64 of a shape; the span is below 2^31."""
        raw = self._source.random_raw(int(np.prod(shape))) >> np.uint64(33)
        return (low + (raw.astype(np.int64) * (high - low + 1) >> 31)).reshape(shape)

    def one(self, low: int, high: int) -> int:
        """One number of low..high."""
        return low + ((int(self._source.random_raw()) >> 33) * (high - low + 1) >> 31)

    def pick(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[self.one(0, len(items) - 1)]

    def colour(self) -> np.ndarray:
        """Red, green and blue, int64 [3]; any colour."""
        return self.array(0, 255, 3)


class Box(NamedTuple):
    """Pixels of a picture: columns left..right-1 and rows top..bottom-1."""

    left: int
    top: int
    right: int
    bottom: int

    def shared(self, other: Box) -> int:
        """Pixels that lie in both."""
        across = min(self.right, other.right) - max(self.left, other.left)
        down = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0, across) * max(0, down)

    @property
    def area(self) -> int:
        """Number of pixels."""
        return (self.right - self.left) * (self.bottom - self.top)


class Object(NamedTuple):
    """A digit in a picture and the box around its ink."""

    digit: int
    box: Box


# ---------------------------------------------------------------------------------------------- smooth enlargement


@cache
def _weights(points: int, length: int) -> np.ndarray:
    """Catmull-Rom weights of ``points`` values spread over ``length`` pixels, int64 [length, points].

    Rows sum to 2 * _STEPS^3. Values beyond the ends are those at the ends.
    """
    # The middle of pixel i lies at ((2i + 1) * points / length - 1) / 2 points from the first one.
    place = ((2 * np.arange(length) + 1) * points - length) * _STEPS // (2 * length)
    first, t = place // _STEPS, place % _STEPS
    s = _STEPS
    near = (
        -(t**3) + 2 * t**2 * s - t * s**2,
        3 * t**3 - 5 * t**2 * s + 2 * s**3,
        -3 * t**3 + 4 * t**2 * s + t * s**2,
        t**3 - t**2 * s,
    )
    weights = np.zeros((length, points), dtype=np.int64)
    for offset, weight in zip((-1, 0, 1, 2), near):
        np.add.at(weights, (np.arange(length), np.clip(first + offset, 0, points - 1)), weight)
    return weights


def enlarge(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """A smooth surface through whole numbers, int64 [rows, columns] to [height, width]."""
    surface = _weights(values.shape[0], height) @ values.astype(np.int64) @ _weights(values.shape[1], width).T
    return surface // (4 * _STEPS**6)


def softened(values: np.ndarray) -> np.ndarray:
    """Each value averaged with its eight neighbours, nearer ones more; int64 [rows, columns, ...]."""
    padded = np.pad(values, [(1, 1), (1, 1), *[(0, 0)] * (values.ndim - 2)], mode="edge")
    rows = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    return (rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]) // 16


# ---------------------------------------------------------------------------------------------- grounds


def _clouds(numbers: Numbers, height: int, width: int, *sizes: int) -> np.ndarray:
    """Smooth noise of several sizes of detail in pixels, each weaker than the last; int64 [height, width] in 0..255."""
    total, weight = np.zeros((height, width), dtype=np.int64), 0
    for i, size in enumerate(sizes):
        strength = 8 >> i
        grid = numbers.array(0, 255, height // size + 2, width // size + 2)
        total += strength * enlarge(grid, height, width)
        weight += strength
    return np.clip((total // weight - 128) * 3 // 2 + 128, 0, 255)


def _mixed(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    """``share`` / 255 [height, width] of the second colour in the first, int64 [height, width, 3]."""
    return (first * (255 - share[..., None]) + second * share[..., None]) // 255


def _ground_colour(numbers: Numbers) -> np.ndarray:
    """Any colour, but mostly a dull one: digits are the brightly coloured things."""
    colour = numbers.colour()
    share = numbers.one(0, 4)
    return (colour * (5 - share) + _brightness(colour) * share) // 5


def _near(numbers: Numbers, colour: np.ndarray, spread: int) -> np.ndarray:
    return np.clip(colour + numbers.array(-spread, spread, 3), 0, 255)


def _sky(numbers: Numbers, height: int, width: int) -> np.ndarray:
    """Clouds of two colours."""
    colour = _ground_colour(numbers)
    return _mixed(colour, _near(numbers, colour, 110), _clouds(numbers, height, width, 64, 26, 11))


def _wood(numbers: Numbers, height: int, width: int) -> np.ndarray:
    """Bands that wind about, at any angle."""
    y, x = np.mgrid[:height, :width]
    across, down = numbers.one(-8, 8), numbers.one(3, 8)
    bend = _clouds(numbers, height, width, 60, 30) * numbers.one(2, 5)
    period = numbers.one(90, 260)
    phase = (x * across + y * down) * 4 + bend
    share = np.abs(phase % period - period // 2) * 510 // period
    colour = _ground_colour(numbers)
    return _mixed(colour, _near(numbers, colour, 70), share)


def _tiles(numbers: Numbers, height: int, width: int) -> np.ndarray:
    """Tiles of nearly one colour with joints between them, straight or as bricks."""
    wide, tall = numbers.one(14, 40), numbers.one(12, 30)
    colour, joint, shift = _ground_colour(numbers), _ground_colour(numbers), numbers.pick((0, wide // 2))
    y, x = np.mgrid[:height, :width]
    row = y // tall
    x = x + row * shift
    shades = numbers.array(-22, 22, height // tall + 1, (width + (height // tall + 1) * shift) // wide + 1)
    ground = np.clip(colour + shades[row, x // wide][..., None], 0, 255)
    gap = (x % wide < 2) | (y % tall < 2)
    return np.where(gap[..., None], (colour + joint) // 2, ground)


def _camouflage(numbers: Numbers, height: int, width: int) -> np.ndarray:
    """Patches of a few colours."""
    colour, clouds = _ground_colour(numbers), _clouds(numbers, height, width, 36, 15)
    colours = np.stack([colour, *(_near(numbers, colour, 60) for _ in range(3))])
    return colours[np.clip((clouds - 64) // 32, 0, 3)]


def _cloth(numbers: Numbers, height: int, width: int) -> np.ndarray:
    """A weave of crossing bands."""
    y, x = np.mgrid[:height, :width]
    colour, broad = _ground_colour(numbers), numbers.one(10, 34)
    first, second = _near(numbers, colour, 60), _near(numbers, colour, 60)
    across, down = numbers.one(3, broad - 3), numbers.one(3, broad - 3)
    bands = _mixed(colour, first, np.where(x % broad < across, 150, 0))
    share = np.where(y % broad < down, 120, 0) + np.where((x + y) % 4 < 2, 20, 0)
    return (bands * (255 - share[..., None]) + second * share[..., None]) // 255


def _gravel(numbers: Numbers, height: int, width: int) -> np.ndarray:
    """Pebbles: discs of many sizes over each other."""
    colour = _ground_colour(numbers)
    ground = np.broadcast_to(colour, (height, width, 3)).copy()
    for _ in range(height * width // 260):
        radius, shade = numbers.one(3, 9), _near(numbers, colour, 45)
        _disc(ground, numbers.one(0, width), numbers.one(0, height), radius, shade)
    return ground


GROUNDS: dict[str, Callable[[Numbers, int, int], np.ndarray]] = {
    "sky": _sky,
    "wood": _wood,
    "tiles": _tiles,
    "camouflage": _camouflage,
    "cloth": _cloth,
    "gravel": _gravel,
}


def _disc(picture: np.ndarray, x: int, y: int, radius: int, colour: np.ndarray) -> None:
    """Draw a filled circle."""
    top, left = max(0, y - radius), max(0, x - radius)
    part = picture[top : y + radius + 1, left : x + radius + 1]
    rows, columns = np.ogrid[top : top + part.shape[0], left : left + part.shape[1]]
    part[(rows - y) ** 2 + (columns - x) ** 2 <= radius**2] = colour


def _clutter(numbers: Numbers, picture: np.ndarray) -> None:
    """Things that are no digits: discs, boxes and wedges."""
    height, width = picture.shape[:2]
    for _ in range(numbers.one(0, 4)):
        x, y, size, colour = numbers.one(0, width), numbers.one(0, height), numbers.one(8, 26), numbers.colour()
        kind = numbers.one(0, 2)
        if kind == 0:
            _disc(picture, x, y, size, colour)
        elif kind == 1:
            picture[max(0, y - size) : y + numbers.one(4, 26), max(0, x - size) : x + numbers.one(4, 26)] = colour
        else:
            rows, columns = np.ogrid[:height, :width]
            slope = numbers.one(1, 3)
            picture[(rows - y >= 0) & (rows - y < size) & (np.abs(columns - x) * slope <= rows - y)] = colour


# ---------------------------------------------------------------------------------------------- digits


@cache
def digits(test: bool) -> tuple[np.ndarray, ...]:
    """scikit-learn's handwritten digits by class, ten arrays [count, 8, 8] in 0..16.

    The test set has the last fifth of the 1797 images. They seem to lie writer by writer, so that a random fifth would
    show the training set's handwriting again.

    Source: Alpaydin & Kaynak, UCI "Optical Recognition of Handwritten Digits" (test set), via scikit-learn.
    """
    bunch = load_digits()
    boundary = len(bunch.target) * 4 // 5
    part = slice(boundary, None) if test else slice(0, boundary)
    images, labels = bunch.images[part].astype(np.int64), bunch.target[part]
    return tuple(images[labels == label] for label in range(10))


def ink(digit: np.ndarray, height: int, width: int) -> np.ndarray:
    """How much a digit [8, 8] covers of each pixel of a height x width cell, int64 in 0..255, with smooth edges."""
    # A margin, so that strokes at the edge of the 8 x 8 pixels end in the cell and not at its side; sharpened, so that
    # the holes of small loops stay open.
    points = np.pad(digit * 255 // 16, 1)
    surface = enlarge(2 * points - softened(points), height, width)
    # The steeper the surface is made, the sharper the edges: about two pixels wide whatever the size.
    return np.clip((surface - 120) * min(height, width) // 20 + 128, 0, 255)


def _bounds(cover: np.ndarray) -> Box:
    """The box around the pixels that are covered to at least a half."""
    rows, columns = (np.flatnonzero((cover >= 128).any(axis=axis)) for axis in (1, 0))
    return Box(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def _brightness(colour: np.ndarray) -> np.ndarray:
    return (colour * np.array([77, 150, 29])).sum(-1) // 256


def _ink_colour(numbers: Numbers, ground: np.ndarray) -> np.ndarray:
    """A colour that can be told from a ground [n, 3]: brighter or darker, with a tint of its own."""
    mean, change, sign = ground.sum(0) // len(ground), numbers.one(*_CONTRAST), numbers.pick((-1, 1))
    if not 0 <= int(_brightness(mean)) + sign * change <= 255:
        sign = -sign
    return np.clip(mean + sign * change + numbers.array(-_TINT, _TINT, 3), 0, 255)


def _place(numbers: Numbers, picture: np.ndarray, cover: np.ndarray, occupied: Sequence[Box]) -> Box | None:
    """Where a digit's ink can go without hiding another one; None where no place was found."""
    height, width = picture.shape[:2]
    inner = _bounds(cover)
    wide, tall = inner.right - inner.left, inner.bottom - inner.top
    for _ in range(_TRIES):
        left, top = numbers.one(0, width - wide), numbers.one(0, height - tall)
        box = Box(left, top, left + wide, top + tall)
        if all(box.shared(other) * 100 <= _OVERLAP * min(box.area, other.area) for other in occupied):
            return box
    return None


def _write(numbers: Numbers, picture: np.ndarray, cover: np.ndarray, box: Box) -> None:
    """Put a digit's ink on the picture, its bounds at ``box``."""
    inner = _bounds(cover)
    share = cover[inner.top : inner.bottom, inner.left : inner.right, None]
    part = picture[box.top : box.bottom, box.left : box.right]
    colour = _ink_colour(numbers, part.reshape(-1, 3))
    shade = colour + _clouds(numbers, *part.shape[:2], 16)[..., None] * numbers.one(0, 40) // 255 - 20
    part[:] = (part * (255 - share) + np.clip(shade, 0, 255) * share) // 255


def draw(
    numbers: Numbers, *, height: int, width: int, sides: tuple[int, int], objects: tuple[int, int], test: bool
) -> tuple[np.ndarray, list[Object]]:
    """A picture, uint8 [height, width, 3], and the digits in it.

    Args:
        numbers: decide everything.
        height: of the picture in pixels.
        width: of the picture in pixels.
        sides: smallest and largest height of the cell that a digit is written in.
        objects: fewest and most digits; fewer where there is no room, but one at least.
        test: of the test set's handwriting.
    """
    picture = numbers.pick(list(GROUNDS.values()))(numbers, height, width).astype(np.int64)
    _clutter(numbers, picture)
    picture = softened(picture)
    written: list[Object] = []
    for _ in range(numbers.one(*objects)):
        digit = numbers.one(0, 9)
        side = numbers.one(*sides)
        cover = ink(numbers.pick(list(digits(test)[digit])), side, side * numbers.one(*BREADTH) // 100)
        box = _place(numbers, picture, cover, [other.box for other in written])
        if box is not None:
            _write(numbers, picture, cover, box)
            written.append(Object(digit, box))
    light = 200 + _clouds(numbers, height, width, 96) * numbers.one(0, 90) // 255
    picture = picture * light[..., None] // 245
    amplitude = numbers.one(2, 9)
    picture += numbers.array(-amplitude, amplitude, height, width, 3)
    return np.clip(picture, 0, 255).astype(np.uint8), written
