"""A small detection set that is made on the spot, to try everything without a download."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from natx.data.generated import make_once
from natx.errors import ConfigError
from natx.registry import DATASETS
from tasks.det.datasets.scenes import BREADTH, Numbers, Object, draw
from tasks.det.datasets.voc import ANNOTATIONS, IMAGES, LISTS
from tasks.det.datasets.voc_set import VOCDetection

FORMAT = 2  # of the pictures: to be raised with every change that draws others
DIGITS = tuple("0123456789")
TRAIN, TEST = "trainval", "test"

_SMALLEST = 16  # side of a digit in pixels: half a pixel for each of its own is too little to be read
_PNG_EFFORT = 1  # the pictures have noise, which no effort makes smaller


@DATASETS.register_module()
def GeneratedVOC(
    root: str | Path = "data/generated_voc",
    split: str = TRAIN,
    *,
    images: int = 400,
    test_images: int = 100,
    canvas: Sequence[int] = (160, 160),
    sides: Sequence[int] = (24, 72),
    objects: Sequence[int] = (1, 4),
    seed: int = 0,
    size: Sequence[int] | None = None,
    short: int | None = None,
    long: int | None = None,
    divisor: int = 32,
    threads: int = 0,
) -> VOCDetection:
    """Handwritten digits on textured grounds, written as PNG files in the Pascal VOC layout where missing.

    The digits are scikit-learn's, enlarged smoothly; training and test pictures show different ones. Size, colour,
    place, ground and clutter vary; digits hardly overlap, and a box is tight around a digit's ink. The same parameters
    give the same pixels everywhere. ``root`` appears complete or not at all, and a folder that holds something else is
    never touched. Its first reader makes it (some seconds) while others wait; its parameters are in
    ``generated.json``.

    Args:
        root: where the files are or go.
        split: ``trainval`` or ``test``.
        images: training pictures.
        test_images: test pictures.
        canvas: height and width of the files in pixels.
        sides: smallest and largest height of a digit's cell in pixels; its ink is a little smaller.
        objects: fewest and most digits in a picture.
        seed: of the pictures.
        size: height and width that images are resized to when read; those of the files by default.
        short: length of the shorter side instead, see :class:`VOCDetection`.
        long: as for :class:`VOCDetection`.
        divisor: as for :class:`VOCDetection`.
        threads: decode a batch with this many threads; 0 decodes in the caller's.

    Returns:
        :class:`VOCDetection` with the classes "0" to "9"; ``train`` is set for ``trainval``.

    Raises:
        ConfigError: a parameter out of range.
        DataError: ``root`` holds something else or a set with other parameters, or cannot be written.
    """
    if split not in (TRAIN, TEST):
        raise ConfigError(f"GeneratedVOC: split must be {TRAIN} or {TEST}; got {split!r}")
    recipe = Recipe(
        images=images,
        test_images=test_images,
        canvas=_as_tuple(canvas),
        sides=_as_tuple(sides),
        objects=_as_tuple(objects),
        seed=seed,
    )
    root = Path(root).expanduser().resolve()
    make_once(root, recipe.manifest(), lambda folder: _write(folder, recipe))
    if size is None and short is None:
        size = recipe.canvas
    return VOCDetection(
        root,
        split,
        train=split == TRAIN,
        classes=DIGITS,
        size=size,
        short=short,
        long=long,
        divisor=divisor,
        threads=threads,
    )


@dataclass(frozen=True)
class Recipe:
    """All parameters of a generated set, see :func:`GeneratedVOC`."""

    images: int
    test_images: int
    canvas: tuple[int, int]
    sides: tuple[int, int]
    objects: tuple[int, int]
    seed: int

    def __post_init__(self) -> None:
        for name, low in dict(images=1, test_images=1, seed=0).items():
            if not _whole(getattr(self, name), low):
                raise ConfigError(
                    f"GeneratedVOC: {name} must be a whole number from {low}; got {getattr(self, name)!r}"
                )
        for name, low in dict(canvas=_SMALLEST, sides=_SMALLEST, objects=1).items():
            pair = getattr(self, name)
            if len(pair) != 2 or not all(_whole(value, low) for value in pair):
                raise ConfigError(f"GeneratedVOC: {name} must be two whole numbers from {low}; got {list(pair)}")
        for name in ("sides", "objects"):
            pair = getattr(self, name)
            if pair[0] > pair[1]:
                raise ConfigError(f"GeneratedVOC: {name} must be the least and the most; got {list(pair)}")
        if self.sides[1] > self.canvas[0] or self.sides[1] * BREADTH[1] // 100 > self.canvas[1]:
            raise ConfigError(f"GeneratedVOC: sides up to {self.sides[1]} do not fit canvas={list(self.canvas)}")

    def manifest(self) -> dict[str, Any]:
        """What ``generated.json`` holds."""
        values = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}
        return {"generator": "natx GeneratedVOC", "format": FORMAT, **values}


def _as_tuple(values: Sequence[int]) -> Any:
    """A pair, if the config gives two values; :class:`Recipe` checks it."""
    return tuple(values)


def _whole(value: Any, low: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= low


def _write(folder: Path, recipe: Recipe) -> None:
    """All files of a set."""
    for name in (ANNOTATIONS, LISTS, IMAGES):
        (folder / name).mkdir(parents=True)
    height, width = recipe.canvas
    for number, (split, count) in enumerate(((TRAIN, recipe.images), (TEST, recipe.test_images))):
        names = [f"{split}_{i:06d}" for i in range(count)]
        for i, name in enumerate(names):
            # A picture's key is its own: a larger set begins with the same pictures.
            pixels, objects = draw(
                Numbers(recipe.seed, number, i),
                height=height,
                width=width,
                sides=recipe.sides,
                objects=recipe.objects,
                test=split == TEST,
            )
            Image.fromarray(pixels).save(folder / IMAGES / f"{name}.png", compress_level=_PNG_EFFORT)
            tree = _xml(f"{name}.png", objects, height=height, width=width)
            tree.write(folder / ANNOTATIONS / f"{name}.xml", encoding="utf-8")
        (folder / LISTS / f"{split}.txt").write_text("\n".join(names) + "\n", encoding="utf-8")


def _xml(file_name: str, objects: Sequence[Object], *, height: int, width: int) -> ET.ElementTree:
    """An annotation as VOC writes it: pixels count from 1, and the last ones are inside the box."""
    top = ET.Element("annotation")
    ET.SubElement(top, "filename").text = file_name
    ET.SubElement(ET.SubElement(top, "source"), "database").text = "natx GeneratedVOC"
    _fill(ET.SubElement(top, "size"), width=width, height=height, depth=3)
    ET.SubElement(top, "segmented").text = "0"
    for digit, box in objects:
        thing = ET.SubElement(top, "object")
        _fill(thing, name=DIGITS[digit], pose="Unspecified", truncated=0, difficult=0)
        corners = {"xmin": box.left + 1, "ymin": box.top + 1, "xmax": box.right, "ymax": box.bottom}
        _fill(ET.SubElement(thing, "bndbox"), **corners)
    ET.indent(top)
    return ET.ElementTree(top)


def _fill(element: ET.Element, **values: Any) -> None:
    for name, value in values.items():
        ET.SubElement(element, name).text = str(value)
