"""Pictures inside a page: their pixels as text, so that there is nothing to load."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image

HEAVY = 500_000  # bytes of a picture
SHOWN, QUALITY = 900, 90  # its width in a page, and WebP's quality


@dataclass(frozen=True)
class Picture:
    """A picture of a page.

    Attributes:
        title: what it shows.
        text: the same for those who cannot see it.
        file: its name.
        data: its pixels as a ``data:`` address; empty where the file is missing.
    """

    title: str
    text: str
    file: str
    data: str


def embed(path: Path, *, title: str, text: str) -> Picture:
    """A picture as part of a page; a heavy one is scaled down to what a page shows.

    Args:
        path: a .png file.
        title: what it shows.
        text: see :class:`Picture`.
    """
    return Picture(title, text, path.name, _data(path) if path.is_file() else "")


def _data(path: Path) -> str:
    content, kind = path.read_bytes(), "png"
    if len(content) > HEAVY:
        with Image.open(path) as image:
            image.thumbnail((SHOWN, 4 * SHOWN))
            scaled, kind = BytesIO(), "webp"
            image.save(scaled, "WEBP", quality=QUALITY)
        content = scaled.getvalue()
    return f"data:image/{kind};base64," + base64.b64encode(content).decode()
