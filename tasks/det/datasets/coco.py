"""COCO's layout: one JSON file of images, categories and boxes, and a folder of images."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from natx.data.base import brief
from natx.errors import DataError
from natx.registry import DATASETS
from tasks.det.datasets.images import DetectionImages, checked_classes
from tasks.det.datasets.voc import Shot, few


@DATASETS.register_module()
class CocoDetection(DetectionImages):
    """Images with boxes from COCO's JSON ("instances"): COCO itself, or a set of one's own.

    Boxes are x, y, width and height in pixels from the image's upper left corner, as fractions, and stay as they are:
    the metric sees what pycocotools sees. Training clips them to their image and leaves out those without area. Crowds
    are no objects to learn (:attr:`tasks.det.readers.Targets.ignored`) nor to be found, and detections inside them are
    no false alarms. ``ignore`` is not looked at, as pycocotools does not. Images are in the file's order, and those
    without any object stay. Image files are not opened before they are needed: one that its EXIF orientation turns by a
    quarter is read turned where the JSON has the turned size, and as stored otherwise.

    Args:
        annotations: the JSON file.
        images: the folder that its file names are in.
        classes: names of the categories in label order; all of the file, in its order, by default. Categories of one
            name are one class, which is told.

    The other arguments are those of :class:`tasks.det.datasets.images.DetectionImages`.

    Raises:
        DataError: a file that is no JSON of this kind, images that are missing, categories that it does not have, or no
            object of the classes at all.
        ConfigError: sizes, classes or threads that cannot be.
    """

    def __init__(
        self,
        annotations: str | Path = "data/coco/annotations/instances_train2017.json",
        images: str | Path = "data/coco/train2017",
        *,
        train: bool = False,
        classes: Sequence[str] | None = None,
        size: Sequence[int] | None = None,
        short: int | None = None,
        long: int | None = None,
        divisor: int = 32,
        threads: int = 0,
    ) -> None:
        path, folder = Path(annotations).expanduser(), Path(images).expanduser()
        content = _read(path)
        categories = {entry["id"]: entry["name"] for entry in content["categories"]}
        names = tuple(dict.fromkeys(categories.values())) if classes is None else checked_classes(classes)
        if missing := [name for name in names if name not in categories.values()]:
            raise DataError(
                f"{path} has no category {few(missing)}; it has {few(list(categories.values()))}: set classes to some "
                "of these"
            )
        super().__init__(names, train=train, size=size, short=short, long=long, divisor=divisor, threads=threads)
        self._fill(self._shots(content, categories, path, folder), where=str(path))

    def _shots(
        self, content: dict[str, Any], categories: dict[int, str], path: Path, folder: Path
    ) -> list[tuple[str, Shot]]:
        label = {name: i for i, name in enumerate(self.classes)}
        things: dict[Any, list[dict[str, Any]]] = {entry["id"]: [] for entry in content["images"]}
        others: Counter = Counter()
        crowds = flat = 0
        for thing in content["annotations"]:
            if thing["image_id"] not in things or thing["category_id"] not in categories:
                raise DataError(
                    f"{path}: the annotation {thing.get('id')} is of image {thing['image_id']} and category "
                    f"{thing['category_id']}, and the file does not have both; repair the file"
                )
            if categories[thing["category_id"]] not in label:
                others[categories[thing["category_id"]]] += 1
                continue
            things[thing["image_id"]].append(thing)
            crowds += bool(thing.get("iscrowd"))
            flat += min(thing["bbox"][2:]) <= 0
        present = _files(folder)
        shots = []
        for entry in content["images"]:
            name = entry["file_name"]
            if name not in present and not (folder / name).is_file():
                raise DataError(f"{folder} has no image {name}, which {path} names; set images to the folder of images")
            shots.append((name, _shot(entry, things[entry["id"]], folder / name, categories, label)))
        twice = [name for name, count in Counter(categories.values()).items() if count > 1 and name in label]
        self.notes += [f"{path.name}: several categories of one name are one class: {few(twice)}"] if twice else []
        empty, total = sum(not len(shot.boxes) for _, shot in shots), len(content["annotations"])
        counts = [
            (
                f"objects of other classes left out ({few([f'{k} {n}' for k, n in others.most_common()])})",
                others.total(),
            ),
            ("crowds, neither learnt nor to be found", crowds),
            ("boxes without area, judged and not learnt", flat),
        ]
        self.notes += [f"{path.name}: {event}: {count} of {total}" for event, count in counts if count]
        self.notes += [f"{path.name}: images without any object: {empty} of {len(shots)}"] if empty else []
        return shots


def _shot(
    entry: dict[str, Any],
    things: Sequence[dict[str, Any]],
    path: Path,
    categories: dict[int, str],
    label: dict[str, int],
) -> Shot:
    corners = [(x, y, x + width, y + height) for x, y, width, height in (thing["bbox"] for thing in things)]
    return Shot(
        str(path),
        entry["width"],
        entry["height"],
        torch.tensor(corners, dtype=torch.float32).reshape(-1, 4),
        torch.tensor([label[categories[thing["category_id"]]] for thing in things], dtype=torch.int64),
        torch.tensor([bool(thing.get("iscrowd")) for thing in things], dtype=torch.bool),
        turned=None,
        crowds=True,
    )


def _files(folder: Path) -> set[str]:
    """Names of the files in a folder; a name in a folder below it is asked for by itself."""
    try:
        return {entry.name for entry in os.scandir(folder)}
    except OSError as error:
        raise DataError(f"cannot list the images in {folder} ({error.strerror}): set images to their folder") from error


def _read(path: Path) -> dict[str, Any]:
    """The content of a file, once all that is read of it is there and of its kind."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"cannot read {path} ({brief(error)}); expected COCO's JSON: set annotations to that file"
        ) from error
    wanted = {
        "images": dict(id=_is_key, file_name=_is_text, width=_is_length, height=_is_length),
        "categories": dict(id=_is_key, name=_is_text),
        "annotations": dict(image_id=_is_key, category_id=_is_key, bbox=_is_box),
    }
    for part, keys in wanted.items():
        entries = content.get(part) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not (entries or part == "annotations"):
            raise DataError(
                f"{path} has no list {part!r}; expected COCO's JSON with images, annotations and categories"
            )
        for number, entry in enumerate(entries):
            wrong = [k for k, fits in keys.items() if not (isinstance(entry, dict) and fits(entry.get(k)))]
            if wrong:
                got = entry.get(wrong[0]) if isinstance(entry, dict) else entry
                raise DataError(f"{path}: {wrong[0]} of {part}[{number}] is {str(got)[:60]!r}; repair the file")
        identities = Counter(entry["id"] for entry in entries) if "id" in keys else Counter()
        if twice := [key for key, count in identities.items() if count > 1]:
            raise DataError(f"{path}: {part} has the id {twice[0]} more than once; repair the file")
    return content


def _is_key(value: Any) -> bool:
    return isinstance(value, (int, str)) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_length(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_box(value: Any) -> bool:
    numbers = isinstance(value, list) and len(value) == 4 and all(type(v) in (int, float) for v in value)
    return numbers and all(map(math.isfinite, value)) and min(value[2:]) >= 0
