"""The Pascal VOC folder layout: one XML file of objects an image, and lists that say which images make a split.

Read by ourselves, without a detection library, and into the same numbers as mmdet's ``XMLDataset``: a coordinate is
cut to a whole number and 1 is subtracted, from all four alike. So ``x1`` and ``y1`` count from 0 and ``x2`` and ``y2``
are the last pixels inside: a box over a whole image of width W goes from 0 to W - 1. What deviates is safe: boxes are
clipped to their image (mmdet does so when it resizes), those outside it or that end before they begin are left out
(mmdet leaves them to the losses), and sizes are those of the image files and not what the XML says. A box that is one
pixel wide has x2 = x1: it is an object to be found, as in mmdet's evaluation, and no target to learn.
"""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from natx.data.base import brief
from natx.data.images import IMAGE_SUFFIXES
from natx.errors import DataError

VOC_CLASSES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
ANNOTATIONS, LISTS, IMAGES = "Annotations", "ImageSets/Main", "JPEGImages"

ORIENTATION, UPRIGHT = 0x0112, 1  # EXIF's tag, and its value where an image is shown as it is stored
QUARTER_TURNS = (5, 6, 7, 8)  # its values where width and height change places
_FLAGS = ("-1", "0", "1")  # of VOC's lists for one class: it is absent, difficult, there
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_LARGEST = 4 << 20  # bytes of an annotation file; those of VOC have some thousand
_NAMED = 5  # classes or files that a message lists
# An image is found by its name alone; .jpg comes first, as in VOC.
_SUFFIXES = sorted({s for suffix in IMAGE_SUFFIXES for s in (suffix, suffix.upper())}, key=lambda s: (s != ".jpg", s))


class Shot(NamedTuple):
    """An image file and the objects in it.

    Attributes:
        path: of the image.
        width: of the image in pixels.
        height: of the image in pixels.
        boxes: x1, y1, x2, y2 in pixels of the image, float32 ``[n, 4]``, see the module; inside the image.
        labels: class of each object, int64 ``[n]``.
        difficult: objects that an evaluation does not ask for, bool ``[n]``.
        turned: sizes and boxes are those of the image as its EXIF orientation asks viewers to turn it; None where only
            the image's own size can tell.
        edge: see :class:`tasks.det.datasets.Annotation`.
        crowds: likewise.
    """

    path: str
    width: int
    height: int
    boxes: Tensor
    labels: Tensor
    difficult: Tensor
    turned: bool | None = False
    edge: float = 0.0
    crowds: bool = False


def read_annotations(
    root: str | Path, split: str, *, classes: Sequence[str] = VOC_CLASSES, notes: list[str] | None = None
) -> list[Shot]:
    """The images of a split in the order of its list, with their objects; of an image only the size is read.

    Boxes that stick out of their image are clipped, boxes outside it are left out, and so are objects of other
    classes; images without any object stay. An image that its EXIF orientation turns by a quarter is read turned where
    the annotation has the turned size, and as stored otherwise. Doctypes and entities in XML files are refused.

    Args:
        root: folder with ``Annotations``, ``ImageSets/Main`` and ``JPEGImages`` (``VOCdevkit/VOC2012``), or a folder
            with one such folder in it or in its ``VOCdevkit``.
        split: name of the list ``ImageSets/Main/<split>.txt``.
        classes: names of the classes in label order.
        notes: what was left out or changed is added here, one remark a kind.

    Raises:
        DataError: folders, list, images or annotations missing; a list that is empty or names an image twice; XML that
            is broken or does not say what an object is and where.

    Source: Everingham et al., "The Pascal Visual Object Classes (VOC) Challenge" (IJCV 2010).
    """
    root = find_root(root)
    names = read_list(root, split)
    label = {name: i for i, name in enumerate(classes)}
    tally = _Tally()
    shots = [_read_shot(root, name, label, tally) for name in names]
    if notes is not None:
        notes += tally.remarks(f"{root.name} {split}", len(shots))
    return shots


def find_root(root: str | Path) -> Path:
    """The folder of the layout: ``root`` itself, or the only one inside it or inside its ``VOCdevkit``.

    Raises:
        DataError: neither, or several such folders.
    """
    root = Path(root).expanduser()
    expected = f"expected {root}/{ANNOTATIONS}, {root}/{LISTS} and {root}/{IMAGES}"
    if _is_layout(root):
        return root
    try:
        below = [root, *([root / "VOCdevkit"] if (root / "VOCdevkit").is_dir() else [])]
        inside = [Path(e.path) for folder in below for e in os.scandir(folder) if e.is_dir() and _is_layout(e.path)]
    except OSError as error:
        raise DataError(
            f"cannot list {root} ({error.strerror}); {expected}: unpack the data set there or set root to it"
        ) from error
    if len(inside) > 1:
        listed = ", ".join(sorted(str(path.relative_to(root)) for path in inside))
        raise DataError(f"{root} holds several data sets ({listed}): set root to one of them, or to a list of them")
    if not inside:
        raise DataError(f"{root} has no folder {ANNOTATIONS} or {IMAGES}; {expected}: set root to the data set")
    return inside[0]


def _is_layout(folder: str | Path) -> bool:
    return any(os.path.isdir(os.path.join(folder, name)) for name in (ANNOTATIONS, LISTS, IMAGES))


def read_list(root: Path, split: str) -> list[str]:
    """Names of the images in a split, one per line of its file."""
    for name in (ANNOTATIONS, LISTS, IMAGES):
        if not (root / name).is_dir():
            raise DataError(
                f"{root} has no folder {name}; expected {ANNOTATIONS} (XML files), {LISTS} (lists) and {IMAGES} "
                "(images): unpack the data set again or set root to it"
            )
    path = root / LISTS / f"{split}.txt"
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()  # some editors open a file with a mark
    except (OSError, UnicodeDecodeError) as error:
        lists = sorted(entry.stem for entry in (root / LISTS).glob("*.txt") if not entry.name.startswith("."))
        raise DataError(
            f"cannot read the list {path} ({brief(error)}); expected one image name per line; lists that are there: "
            f"{few(lists) or 'none'}"
        ) from error
    names = [name for line in lines if (name := line.strip())]
    if not names:
        raise DataError(f"the list {path} is empty; expected one image name per line, as 2007_000027")
    flagged = all(len(parts := name.split()) == 2 and parts[1] in _FLAGS for name in names)
    if flagged and not (root / ANNOTATIONS / f"{names[0]}.xml").is_file():
        raise DataError(
            f"the list {path} begins with {names[0]!r}: it says of each image whether a class is in it; name a list "
            "with one image a line (trainval, not cat_trainval), or cut the flags off"
        )
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"the list {path} names images more than once: {few(twice)}; remove the repeated lines")
    return names


def few(names: Sequence[str]) -> str:
    """The first names, and how many more, for a message."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


@dataclass
class _Tally:
    """What happened while a split was read.

    Attributes:
        objects: all objects.
        clipped: boxes clipped to their image.
        flat: boxes outside their image, or that end before they begin, left out.
        thin: boxes one pixel wide or high.
        others: objects left out, by class.
        empty: images without any object (left).
        sizes: images of another size than their annotation says.
        stored: images whose file asks viewers to turn or mirror them (EXIF), read as stored.
        turned: such images that are read as viewers see them, since their annotation has that size.
    """

    objects: int = 0
    clipped: int = 0
    flat: int = 0
    others: Counter = field(default_factory=Counter)
    empty: int = 0
    sizes: int = 0
    thin: int = 0
    stored: int = 0
    turned: int = 0

    def remarks(self, where: str, images: int) -> list[str]:
        """One line for each kind of thing that happened."""
        listed = few([f"{name} {count}" for name, count in sorted(self.others.items(), key=lambda x: (-x[1], x[0]))])
        counts = [
            (f"objects of other classes left out ({listed})", sum(self.others.values()), self.objects),
            ("boxes outside the image or without area left out", self.flat, self.objects),
            ("boxes one pixel wide or high, judged and not learnt", self.thin, self.objects),
            ("boxes clipped to the image", self.clipped, self.objects),
            ("images without any object", self.empty, images),
            ("images of another size than the annotation says (the image's is used)", self.sizes, images),
            ("images that viewers turn (EXIF) and that are read as stored, so boxes must be too", self.stored, images),
            ("images read as viewers turn them (EXIF), whose annotation has the turned size", self.turned, images),
        ]
        return [f"{where}: {event}: {count} of {total}" for event, count, total in counts if count]


def _read_shot(root: Path, name: str, label: dict[str, int], tally: _Tally) -> Shot:
    """One image with its objects of the classes in ``label``."""
    path = root / ANNOTATIONS / f"{name}.xml"
    top = parse(path)
    image = _find_image(root, name)
    (width, height), orientation = _image_size(image)
    size = [(top.findtext(f"size/{side}") or "").strip() for side in ("width", "height")]
    # Only a quarter turn shows in the size; of a half turn nobody can say which way the boxes are.
    turned = orientation in QUARTER_TURNS and width != height and size == [str(height), str(width)]
    if turned:
        width, height = height, width
    tally.turned += turned
    tally.stored += orientation != UPRIGHT and not turned
    tally.sizes += any(size) and size != [str(width), str(height)]
    boxes, labels, difficult = [], [], []
    for thing in top.findall("object"):
        tally.objects += 1
        kind = named(thing)
        if not kind:
            raise DataError(f"{path} has an object without a name; repair the annotation or take it from the list")
        if kind not in label:
            tally.others[kind] += 1
            continue
        box = _read_box(path, thing, kind)
        # The last pixels are inside: a box from a column to the same one is a pixel wide.
        if box[2] < max(box[0], 0) or box[3] < max(box[1], 0) or box[0] >= width or box[1] >= height:
            tally.flat += 1
            continue
        inside = [min(max(value, 0), side) for value, side in zip(box, (width, height) * 2)]
        tally.thin += inside[2] == inside[0] or inside[3] == inside[1]
        tally.clipped += inside != box
        boxes.append(inside)
        labels.append(label[kind])
        difficult.append(thing.find("difficult") is not None and _number(path, thing, "difficult") != 0)
    tally.empty += not boxes
    return Shot(
        str(image),
        width,
        height,
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(labels, dtype=torch.int64),
        torch.tensor(difficult, dtype=torch.bool),
        turned,
        edge=1.0,
    )


def named(thing: ET.Element) -> str:
    """The class of an object; empty where it has none."""
    return (thing.findtext("name") or "").strip()


class _Builder(ET.TreeBuilder):
    """Builds the tree of a file that declares nothing: entities could make a small file fill the memory."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        """Called where a doctype begins, before what it declares."""
        raise ValueError("a doctype, which is refused")


def parse(path: Path) -> ET.Element:
    """The top element of an annotation file; DataError where it cannot be read."""
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise DataError(
            f"cannot read the annotation {path} ({error.strerror}); expected one for every image in the list: unpack "
            "the data set again or take the image from the list"
        ) from error
    advice = "repair the annotation or take it from the list"
    if len(content) > _LARGEST:
        raise DataError(f"{path} has more than {_LARGEST} bytes, which no annotation has; {advice}")
    try:
        parser = ET.XMLParser(target=_Builder())
        parser.feed(content)
        return parser.close()
    # ValueError and LookupError come from encodings that nobody knows.
    except (ET.ParseError, ValueError, LookupError) as error:
        raise DataError(f"{path} is broken XML ({brief(error)}); {advice}") from error


def _read_box(path: Path, thing: ET.Element, kind: str) -> list[int]:
    """x1, y1, x2, y2 of an object, not yet clipped."""
    corners = thing.find("bndbox")
    if corners is None:
        raise DataError(f"{path} has a {kind} without bndbox; repair the annotation or take it from the list")
    return [_number(path, corners, tag) - 1 for tag in _CORNERS]


def _number(path: Path, element: ET.Element, tag: str) -> int:
    """The number in a sub-element, without its fraction."""
    text = element.findtext(tag)
    try:
        return int(float(text or ""))
    except (ValueError, OverflowError) as error:  # missing, no number, infinite
        got = "nothing" if text is None else repr(text[:40])
        raise DataError(
            f"{path} has {got} for a number as {tag} of {element.tag}; repair the annotation or take it from the list"
        ) from error


def _find_image(root: Path, name: str) -> Path:
    """The image file of a name."""
    for suffix in _SUFFIXES:
        path = root / IMAGES / (name + suffix)
        if path.is_file():
            return path
    raise DataError(
        f"{root / IMAGES} has no image {name} (.jpg, .png, ...), which a list names; unpack the data set again or take "
        "it from the list"
    )


def _image_size(path: Path) -> tuple[tuple[int, int], int]:
    """Width and height of an image file as stored, and its EXIF orientation, from its header."""
    try:
        with Image.open(path) as opened:
            return opened.size, opened.getexif().get(ORIENTATION, UPRIGHT)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"cannot read the size of the image {path} ({brief(error)}); replace or remove it") from error
