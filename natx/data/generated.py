"""Data sets that are made on the spot: a folder that appears complete or not at all, and is never overwritten."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from natx.data.base import brief
from natx.errors import DataError
from natx.runtime.files import write_json
from natx.runtime.locks import exclusive

MANIFEST = "generated.json"


def make_once(root: Path, manifest: dict[str, Any], write: Callable[[Path], None]) -> None:
    """Write a set into ``root`` where it does not exist; others wait, and a killed process leaves no ``root``.

    Args:
        root: the set's folder; an empty one is filled.
        manifest: plain values that define the set, kept as ``generated.json``.
        write: writes all other files into a folder that it makes.

    Raises:
        DataError: ``root`` holds something else, or cannot be written.
    """
    unfinished = root.with_name(f".{root.name}.unfinished")
    try:
        if _is_there(root, manifest):
            return
        with exclusive(root.with_name(f".{root.name}.lock")):
            if _is_there(root, manifest):  # another process was faster
                return
            shutil.rmtree(unfinished, ignore_errors=True)  # a killed process's: this one holds the lock
            try:
                write(unfinished)
                write_json(unfinished / MANIFEST, manifest)
                os.rename(unfinished, root)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        raise DataError(f"cannot make the generated set {root} ({brief(error)}); set another root") from error


def _is_there(root: Path, wanted: dict[str, Any]) -> bool:
    """Whether ``root`` is this set; False where it is missing or empty, DataError where it is something else."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    advice = "it is left as it is; set another root"
    try:
        there = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{root} is no generated set ({brief(error)}); {advice}") from error
    if not isinstance(there, dict) or there.keys() != wanted.keys():
        raise DataError(f"{root / MANIFEST} is not the manifest of this kind of generated set; {advice}")
    other = [f"{key}={there[key]} there and {value} asked for" for key, value in wanted.items() if there[key] != value]
    if other:
        raise DataError(f"{root} holds a generated set with {', '.join(other)}; {advice} or delete it")
    return True
