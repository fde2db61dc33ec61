"""Atomic file writing: a killed process leaves the old file or the new one, never half of either."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from io import BufferedWriter, FileIO
from pathlib import Path
from typing import Any, BinaryIO

from natx.errors import StorageError

SIGNS = {"+": "plus", "-": "minus"}
SIGN = re.compile(r"(?<![^\s(])[+-](?=\w)")  # before a word or a number, and no hyphen between two
LONGEST = 80  # letters of a file's name that an attack's name may take


# What the system says where a disk or a permission is the cause, and no mistake of the program.
STORAGE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE}


def write_atomic(path: Path, write: Callable[[BinaryIO], Any], *, size: int | None = None) -> None:
    """Call ``write`` on a temporary file beside ``path``, flush it to disk and rename it into place.

    Args:
        path: the file; an older one stays as it is until the new one is whole. A link stays one: what it leads to is
            replaced.
        write: writes the content.
        size: bytes that it will take, where that is known, for the message.

    Raises:
        StorageError: a full disk, no permission, ...; what is there stays.
    """
    name = None
    file = None
    path = Path(os.path.realpath(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        file = _Watched(handle, "wb")
        with BufferedWriter(file) as buffer:
            write(buffer)
            buffer.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException as error:
        if name is not None:
            Path(name).unlink(missing_ok=True)
        # What writes through a library may hide the cause: torch.save says "unexpected pos" on a full disk.
        cause = error if isinstance(error, OSError) else None if file is None else file.failure
        if cause is not None:
            raise storage_error(path, cause, size=size) from error
        raise


class _Watched(FileIO):
    """A file that remembers what the system said when it could not be written."""

    failure: OSError | None = None

    def write(self, content: Any) -> int:
        """See :class:`io.FileIO`."""
        try:
            return super().write(content)
        except OSError as error:
            self.failure = error
            raise


def storage_error(path: Path, error: OSError, *, size: int | None = None) -> StorageError:
    """An error of the system as one line: the folder, the space, what is still good and what to do."""
    needed = "" if size is None else f"; it takes {_megabytes(size)}"
    try:
        free = f", {_megabytes(shutil.disk_usage(path.parent).free)} are free in {path.parent}"
    except OSError:
        free = f", and {path.parent} is gone"
    kept = "the file that was there before is whole" if path.exists() else "nothing else was changed"
    return StorageError(
        f"{path} cannot be written ({error.strerror or error}{needed}{free}); {kept}: make room, or the folder "
        "writable, and run the same again"
    )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def clear_unfinished(folder: Path) -> None:
    """Remove what a process killed inside :func:`write_atomic` left in a folder."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    content = text.encode()
    write_atomic(path, lambda file: file.write(content), size=len(content))


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically; every reader of JSON can read it, see :func:`strict`."""
    write_text(path, json.dumps(strict(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """What :func:`write_json` wrote, in whatever encoding the system writes text; raises ValueError for no JSON."""
    return json.loads(path.read_text(encoding="utf-8"))


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


def plain_name(attack: str) -> str:
    """An attack's name for a file or a folder: ``SMA-8-255``; a sign before a word is spelt out, ``APGD-plus-w``."""
    spelt = SIGN.sub(lambda sign: f"{SIGNS[sign[0]]}-", attack)
    return re.sub(r"[^\w.]+", "-", spelt)[:LONGEST].strip("-.") or "attack"
