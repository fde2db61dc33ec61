"""Several processes of one job: where one fails, the others end soon, and its error is the last thing that is said."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

import torch
from torch.distributed import Store

LOOK = 2.0  # seconds between two looks at the others
SILENT = 45.0  # seconds without a sign of life after which a process is taken for dead
FAILED, ALIVE, DONE = "natx/failed", "natx/alive/", "natx/done/"


class Watch:
    """A thread that ends this process where another one of the job has failed or died.

    A process that fails says so in the store that all share, so the others need not wait for a collective that never
    comes (half an hour by default). One that is killed cannot say anything; it is missed after :data:`SILENT` seconds.

    Args:
        store: shared by all processes.
        rank: of this process.
        count: how many there are.
        leave: ends the process with a code; :func:`os._exit`, because the main thread may hang in a collective.
    """

    def __init__(self, store: Store, rank: int, count: int, *, leave: Callable[[int], None] = os._exit) -> None:
        self.store, self.rank, self.count, self.leave = store, rank, count, leave
        self.signs: dict[int, tuple[int, float]] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="natx-watch", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no longer: this process has come to its end, and will give no more signs of life."""
        self._end.set()
        with suppress(RuntimeError):
            self.store.set(f"{DONE}{self.rank}", "1")
        self._thread.join(timeout=2 * LOOK)

    def report(self, message: str, *, code: int) -> None:
        """Tell the others that this process fails; the first to do so is the one they name."""
        self._end.set()
        with suppress(RuntimeError):  # the store is gone: its process has failed before
            if self.store.add(f"{FAILED}/claimed", 1) == 1:
                self.store.set(FAILED, f"{code} {self.rank} {message}")
                time.sleep(2 * LOOK)  # the store may be this process's own: the others hear of it before it goes

    def look(self) -> tuple[str, int] | None:
        """What the others' state says: an error and the code to leave with, or None while all is well."""
        try:
            self.store.add(f"{ALIVE}{self.rank}", 1)
            if self.store.check([FAILED]):
                code, rank, message = self.store.get(FAILED).decode().split(" ", 2)
                return f"process {rank} failed: {message}", int(code)
            now = time.monotonic()
            for other in range(self.count):
                if self.store.check([f"{DONE}{other}"]):
                    continue
                sign = self.store.add(f"{ALIVE}{other}", 0)
                if self.signs.get(other, (-1, now))[0] != sign:
                    self.signs[other] = (sign, now)
                elif now - self.signs[other][1] > SILENT:
                    return f"process {other} gives no sign of life: killed by the system? (memory?)", 1
        except RuntimeError:
            return "the process that holds the job together has ended", 1
        return None

    def _run(self) -> None:
        while not self._end.wait(LOOK):
            verdict = self.look()
            if verdict is not None and not self._end.is_set():
                sys.stderr.write(f"error: {verdict[0]}\n")
                sys.stderr.flush()
                self.leave(verdict[1])
                return


def watch() -> Watch:
    """Watch the processes of the group that was just made."""
    store = torch.distributed.distributed_c10d._get_default_store()
    copy = store.clone() if hasattr(store, "clone") else store  # a connection of its own: the other may be waiting
    copy.set_timeout(timedelta(seconds=10))
    watching = Watch(copy, torch.distributed.get_rank(), torch.distributed.get_world_size())
    watching.start()
    return watching
