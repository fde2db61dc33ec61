"""Memory that does not suffice: one line that says what to lower, and work that goes on in smaller pieces."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from natx.errors import MemoryShortage

# torch has a class for an accelerator's memory alone.
ON_THE_CPU = re.compile(r"can't allocate memory|not enough memory|std::bad_alloc")
WORKER = re.compile(r"DataLoader worker \(pid.*\) (is killed by signal: Killed|exited unexpectedly)")


def is_shortage(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on an accelerator or on the CPU."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and ON_THE_CPU.search(str(error)) is not None


@contextmanager
def explained(*, lower: str, workers: int = 0) -> Iterator[None]:
    """Turn a shortage of memory inside into one line.

    Args:
        lower: what to lower, with its value now.
        workers: number of loading processes, one of which the system may kill.

    Raises:
        MemoryShortage: memory ran out.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if is_shortage(error):
            first = (str(error).strip().splitlines() or ["no more memory"])[0]
            raise MemoryShortage(f"out of memory ({first[:150]}): lower {lower}") from error
        if WORKER.search(str(error)):
            raise MemoryShortage(
                f"a loading process was killed, most likely because the machine's memory is full: lower "
                f"data.num_workers (now {workers}) or {lower}"
            ) from error
        raise


def release() -> None:
    """Give back what torch's accelerator allocator keeps for later, before something smaller is tried."""
    if torch.accelerator.is_available():
        torch.accelerator.empty_cache()


__all__ = ["explained", "is_shortage", "release"]
