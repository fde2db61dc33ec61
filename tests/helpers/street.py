"""A small re-identification set: drawn people under two cameras."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

PEOPLE = (2, 5, 7, 11, 13, 17)


def draw_street(root: Path, *, people: Sequence[int] = PEOPLE) -> Path:
    """A set in the Market-1501 layout, 64 x 32 pixels: everybody has two colours, every camera its light.

    Four training images a person; seven queries of four others, of whom 103 has a single one.
    """
    shots = [("bounding_box_train", person, camera, shot) for person in people for camera in (1, 2) for shot in (0, 1)]
    for person in (100, 101, 102, 103):
        shots += [("query", person, camera, 0) for camera in ((1, 2) if person < 103 else (1,))]
        shots += [("bounding_box_test", person, camera, 1) for camera in (1, 2)]
    shots += [("bounding_box_test", 0, 1, 1), ("bounding_box_test", -1, 2, 1)]
    for folder, person, camera, shot in shots:
        rng = np.random.default_rng([person + 1, 7])
        top, bottom = rng.integers(30, 226, 3), rng.integers(30, 226, 3)
        noise = np.random.default_rng([person + 1, camera, shot]).normal(25 * camera - 40, 30, (64, 32, 3))
        image = np.where(np.arange(64)[:, None, None] < 32, top, bottom) + noise
        path = root / folder / f"{person if person < 0 else f'{person:04d}'}_c{camera}s1_{shot:06d}_00.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(path)
    return root
