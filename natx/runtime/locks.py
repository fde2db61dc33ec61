"""Locks on folders: the system releases them when a process dies, so a dead one's never blocks."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO
from weakref import WeakSet

from mmengine.dist import all_gather_object, get_dist_info

from natx.errors import StorageError
from natx.runtime.files import storage_error

IN_USE = ".in-use"  # lies in a folder while a process writes to it
UNSUPPORTED = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}  # a file system without locks
OPEN: WeakSet[TextIO] = WeakSet()  # lock files of this process


def _let_go() -> None:
    """In a forked process (one that loads images): its copies would hold the locks of a parent that is dead."""
    for file in OPEN:
        file.close()


os.register_at_fork(after_in_child=_let_go)


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a lock file; wait while another process holds it. Nothing is held on a file system without locks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        _lock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def sole_use(folder: Path, *, work: str) -> Iterator[None]:
    """Hold a folder that is written to, for this process and those it computes with; it is made where it is missing.

    Args:
        folder: where is written.
        work: what is done there, for the message.

    Raises:
        StorageError: on all processes; another one that lives holds the folder, or it cannot be written to.
    """
    fresh = not folder.exists()
    file, refusal = _taken(folder, work=work) if get_dist_info()[0] == 0 else (None, None)
    refusals = [text for text in all_gather_object(refusal) if text]
    if refusals:
        raise StorageError(refusals[0])
    try:
        yield
    finally:
        if file is not None:
            (folder / IN_USE).unlink(missing_ok=True)  # before the lock is released: nobody else can hold this file
            file.close()
        if fresh:
            with suppress(OSError):  # nothing was written: leave nothing behind
                folder.rmdir()


def _taken(folder: Path, *, work: str) -> tuple[TextIO | None, str | None]:
    """The lock's open file, or why it cannot be had."""
    path = folder / IN_USE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        while True:
            file = path.open("a+", encoding="utf-8")
            try:
                _lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                holder = file.read().strip() or "another process"
                file.close()
                return None, f"{folder} is being written to by {holder}: wait for its end, or name another folder"
            if _is(path, file):  # else its holder removed it between the two calls
                break
            file.close()
        file.truncate(0)
        file.write(f"{work} (process {os.getpid()} on {socket.gethostname()} since {time.strftime('%F %T')})")
        file.flush()
        return file, None
    except OSError as error:
        return None, str(storage_error(path, error))


def _lock(file: TextIO, operation: int) -> None:
    """Lock a file; nothing on a file system without locks."""
    OPEN.add(file)
    try:
        fcntl.flock(file, operation)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise


def _is(path: Path, file: TextIO) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
