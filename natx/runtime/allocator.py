"""The C library's memory allocator, which a program that makes and frees large tensors has to set."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Mapping

# malloc.h of the GNU C library.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
KEPT = 2**31 - 1  # bytes: the largest number that mallopt takes
VARIABLES = ("MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_")
TUNABLES = ("glibc.malloc.mmap_", "glibc.malloc.trim_", "glibc.malloc.top_")


def keep_freed_memory(environment: Mapping[str, str] = os.environ) -> bool:
    """Let the GNU C library keep freed memory for the next tensors of this process, at its heap's end up to 2 GB.

    By default it asks the system for every block above 32 MB and gives it back when it is freed; the system clears such
    a block page by page at its first use (the benchmark's item ``kept_memory`` says what that costs).

    Args:
        environment: what the process was started with; where it sets these limits itself, it is obeyed.

    Returns:
        Whether the limits were set: not with another C library, whose allocators have no such call, and not against
        the environment.
    """
    if platform.libc_ver()[0] != "glibc" or any(name in environment for name in VARIABLES):
        return False
    if any(name in environment.get("GLIBC_TUNABLES", "") for name in TUNABLES):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, KEPT))


__all__ = ["keep_freed_memory"]
