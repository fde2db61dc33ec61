"""Atomic file writing: a killed process leaves the old file or the new one, never half of either."""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

SIGNS = {"+": "plus", "-": "minus"}
SIGN = re.compile(r"(?<![^\s(])[+-](?=\w)")  # before a word or a number, and no hyphen between two
LONGEST = 80  # letters of a file's name that an attack's name may take


def write_atomic(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Call ``write`` on a temporary file beside ``path``, flush it to disk and rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def clear_unfinished(folder: Path) -> None:
    """Remove what a process killed inside :func:`write_atomic` left in a folder."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_atomic(path, lambda file: file.write(text.encode()))


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically; every reader of JSON can read it, see :func:`strict`."""
    write_text(path, json.dumps(strict(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def strict(value: Any) -> Any:
    """A plain value with None in place of the floats that JSON has no word for (NaN, infinite ones).

    They are no reason to lose a report: what has no finite value is written as missing.
    """
    if isinstance(value, dict):
        return {key: strict(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [strict(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def sha256(path: Path) -> str:
    """Hex digest of a file's content, or of the names and contents of the files in a folder."""
    digest = hashlib.sha256()
    if path.is_dir():
        for file_path in sorted(entry for entry in path.iterdir() if entry.is_file()):
            digest.update(f"{file_path.name} {sha256(file_path)}\n".encode())
        return digest.hexdigest()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a lock file; wait while another process holds it. The system releases it when a process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def plain_name(attack: str) -> str:
    """An attack's name for a file or a folder: ``SMA-8-255``; a sign before a word is spelt out, ``APGD-plus-w``."""
    spelt = SIGN.sub(lambda sign: f"{SIGNS[sign[0]]}-", attack)
    return re.sub(r"[^\w.]+", "-", spelt)[:LONGEST].strip("-.") or "attack"
