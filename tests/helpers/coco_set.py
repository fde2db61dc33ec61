"""A generated set in COCO's layout: coloured rectangles on noise, a crowd, boxes that stick out and have no area."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CATEGORIES = [{"id": 7, "name": "red"}, {"id": 2, "name": "green"}, {"id": 30, "name": "blue"}]


def write_coco(
    root: Path,
    *,
    images: int = 6,
    side: int = 96,
    seed: int = 0,
    categories: list[dict[str, Any]] = CATEGORIES,
    name: str = "instances",
) -> tuple[Path, Path]:
    """The JSON file ``name`` and its folder of images; every image but the second has two or three objects."""
    rng = np.random.default_rng(seed)
    folder, kinds = root / name, [entry["id"] for entry in categories[:3]]
    folder.mkdir(parents=True)
    entries, things = [], []
    for number in range(images):
        height, width = (side, side) if number % 2 else (side * 3 // 4, side)
        pixels = rng.integers(60, 120, (height, width, 3), dtype=np.uint8)
        for place in range(0 if number == 1 else 2 + number % 2):
            kind = (number + place) % len(kinds)
            box = [float(v) for v in (*rng.uniform(2, 40, 2).round(2), *rng.uniform(16, 30, 2).round(2))]
            x, y, w, h = (int(v) for v in box)
            pixels[y : y + h, x : x + w, kind] = 240
            things.append(thing(len(things) + 1, number, kinds[kind], box, iscrowd=int(number == 2 and place == 1)))
        Image.fromarray(pixels).save(folder / f"{number:04d}.png")
        entries.append({"id": number + 100, "file_name": f"{number:04d}.png", "width": width, "height": height})
    things.append(thing(len(things) + 1, 0, kinds[1], [side - 20.5, 10.0, 30.0, 20.0]))  # sticks out
    things.append(thing(len(things) + 1, 0, kinds[1], [12.0, 10.0, 0.0, 20.0]))
    path = root / f"{name}.json"
    path.write_text(json.dumps({"images": entries, "annotations": things, "categories": categories}))
    return path, folder


def thing(number: int, image: int, category: int, box: list[float], *, iscrowd: int = 0) -> dict[str, Any]:
    size = {"bbox": box, "area": box[2] * box[3], "iscrowd": iscrowd}
    return {"id": number, "image_id": image + 100, "category_id": category, **size}
