"""The Market-1501 folder layout: three flat folders whose file names say identity and camera."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from natx.data.images import IMAGE_SUFFIXES
from natx.errors import DataError

TRAIN, QUERY, GALLERY = "bounding_box_train", "query", "bounding_box_test"
JUNK, DISTRACTOR = -1, 0

# The bound on digits keeps every number inside int64.
_NAME = re.compile(r"(?P<identity>-1|\d{1,18})_c(?P<camera>\d{1,18})(?!\d)", re.ASCII)
_NAME_ALONE = re.compile(r"(?P<identity>-1|\d{1,18})(?!\d)", re.ASCII)


class Shot(NamedTuple):
    """An image file of a person.

    Attributes:
        path: of the file.
        identity: number of the person; :data:`JUNK` for a box that shows nobody properly, :data:`DISTRACTOR` for
            somebody or something that no query asks for.
        camera: number of the camera; 0 where it is not known.
    """

    path: str
    identity: int
    camera: int


def find_root(root: str | Path) -> Path:
    """The folder of the layout: ``root`` itself, or the only folder inside it that is one.

    Raises:
        DataError: neither, or several such folders.
    """
    root = Path(root).expanduser()
    expected = f"expected {root}/{TRAIN}, {root}/{QUERY} and {root}/{GALLERY}"
    if is_layout(root):
        return root
    try:
        inside = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and is_layout(Path(entry.path)))
    except OSError as error:
        raise DataError(
            f"cannot list {root} ({error.strerror}); {expected}: unpack the data set there or set root to it"
        ) from error
    if len(inside) > 1:
        raise DataError(f"{root} holds several data sets ({', '.join(inside)}): set root to one of them")
    if not inside:
        raise DataError(f"{root} has no folder {TRAIN}, {QUERY} or {GALLERY}; {expected}: set root to the data set")
    return root / inside[0]


def is_layout(folder: Path) -> bool:
    """Whether a folder has one of the layout's folders."""
    return any((folder / name).is_dir() for name in (TRAIN, QUERY, GALLERY))


def read_folder(folder: Path, *, cameras: bool = True) -> list[Shot]:
    """The images of a folder sorted by file name; other files, hidden files and subfolders are ignored.

    A name starts with ``<identity>_c<camera>``: ``0002_c1s1_000451_03.jpg`` (Market-1501), ``0005_c2_f0046985.jpg``
    (DukeMTMC). Without ``cameras`` it starts with the identity and what follows is not looked at.

    Raises:
        DataError: the folder is missing or holds no image, or names do not say identity and camera.
    """
    try:
        names = sorted(
            entry.name
            for entry in os.scandir(folder)
            if entry.name.lower().endswith(IMAGE_SUFFIXES) and not entry.name.startswith(".") and not entry.is_dir()
        )
    except OSError as error:
        raise DataError(
            f"cannot list {folder} ({error.strerror}); expected {folder.parent}/{TRAIN}, {folder.parent}/{QUERY} and "
            f"{folder.parent}/{GALLERY}: unpack the data set again or set root to it"
        ) from error
    if not names:
        kinds = ", ".join("*" + suffix for suffix in IMAGE_SUFFIXES)
        raise DataError(f"{folder} has no images; expected files named {kinds}: unpack the data set again")
    shots, unclear = [], []
    for name in names:
        match = (_NAME if cameras else _NAME_ALONE).match(name)
        if match is None:
            unclear.append(name)
        else:
            camera = int(match["camera"]) if cameras else 0
            shots.append(Shot(os.path.join(folder, name), int(match["identity"]), camera))
    if unclear:
        more = f" and {len(unclear) - 3} more" if len(unclear) > 3 else ""
        form, remedy = ("<identity>_c<camera>", ", or give cameras='none'") if cameras else ("<identity>", "")
        raise DataError(
            f"{len(unclear)} of the {len(names)} image names in {folder} do not start with {form}, as "
            f"0002_c1s1_000451_03.jpg does: {', '.join(unclear[:3])}{more}; rename or remove them{remedy}"
        )
    return shots


def identities_in(folder: Path) -> set[int]:
    """The identities that the image names in a folder begin with; none where the folder is missing."""
    try:
        names = [entry.name for entry in os.scandir(folder) if entry.name.lower().endswith(IMAGE_SUFFIXES)]
    except OSError:
        return set()
    return {int(match["identity"]) for match in map(_NAME_ALONE.match, names) if match is not None}
