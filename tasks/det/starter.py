"""A first config for images with boxes in Pascal VOC's layout: `natx init det`."""

from __future__ import annotations

import re
from pathlib import Path

from natx.data.starter import Wish, bases, line, methods, schedule, threat
from natx.errors import ConfigError, DataError
from tasks.det.datasets import VOCDetection
from tasks.det.datasets.voc import ANNOTATIONS, LISTS, find_root

MODELS = {"ssd160_r18": 160, "ssd300_vgg16": 300}  # detectors whose classes stand in one place, and their sides
LEARNED, JUDGED = ("trainval", "train"), ("test", "val")
BATCH, WARM_UP = 16, 5
OBJECT = re.compile(r"<object>\s*<name>\s*([^<]+?)\s*</name>")


def starter(data: Path, wish: Wish) -> list[str]:
    """The lines of a config for a folder in Pascal VOC's layout.

    Args:
        data: holds ``JPEGImages``, ``Annotations`` and lists of images in ``ImageSets/Main``.
        wish: what is decided already.

    Raises:
        DataError: another layout, or no object with a name.
        ConfigError: a model that is none of these, or a size of images that is not its own.
    """
    model = wish.model or "ssd160_r18"
    if model not in MODELS or wish.image_size not in (None, MODELS[model]):
        sizes = ", ".join(f"{name} at {size} pixels" for name, size in MODELS.items())
        raise ConfigError(f"natx init det proposes {sizes}; got {model} at {wish.image_size}: copy another config")
    root, side = find_root(data), MODELS[model]
    classes, learned, judged = _classes(root), _split(root, LEARNED), _split(root, JUDGED)
    images, count = len(VOCDetection(root, learned, train=True, classes=classes)), len(classes)
    batch = min(BATCH, images)
    method = [] if wish.method == "standard" else ["methods/mtd"]
    part = f"root={str(root)!r}, classes=_classes, size=({side}, {side})"
    return [
        f"# {model} on {data}: {images} images to learn from. Made by natx init.",
        bases("det_runtime", f"models/{model}", "datasets/photos_voc", "schedules/det_small_100e", *method),
        line("_classes", repr(classes), f"the {count} that the annotations name"),
        line("task", f"dict(num_classes={count}, model=dict(bbox_head=dict(num_classes={count})))"),
        threat(wish, "8 / 255", "usual here"),
        line(
            "data",
            f"dict(train=dict({part}, split={learned!r}), test=dict({part}, split={judged!r}), batch_size={batch})",
            f"{side} pixels are what {model} is made for",
        ),
        *methods(wish, 'views=("clean", "adv"), attack=dict(threat=threat)'),
        schedule(wish, images, batch, warm_up=WARM_UP),
    ]


def _split(root: Path, names: tuple[str, ...]) -> str:
    """The first of some lists of images that is there."""
    for name in names:
        if (root / LISTS / f"{name}.txt").is_file():
            return name
    raise DataError(
        f"{root / LISTS} has no {' or '.join(f'{name}.txt' for name in names)}: list the images' names there"
    )


def _classes(root: Path) -> list[str]:
    """The names of all objects, in order."""
    files = sorted((root / ANNOTATIONS).glob("*.xml"))
    names = {name for file in files for name in OBJECT.findall(file.read_text(encoding="utf-8", errors="replace"))}
    if not names:
        raise DataError(f"{root / ANNOTATIONS} has no <object> with a <name>: is it Pascal VOC's layout?")
    return sorted(names)
