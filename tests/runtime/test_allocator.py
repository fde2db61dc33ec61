"""Freed memory is kept by the process, unless its environment says what to do with it."""

import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from natx.runtime.allocator import keep_freed_memory

ROOT = Path(__file__).resolve().parents[2]
glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of the GNU C library")

# Pages that the system had to bring while four blocks of 64 MB were made, filled and freed, after a first one.
FAULTS = """
import resource
{setting}
import numpy as np
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(64 * 2**17)
before = faults()
for _ in range(4):
    np.ones(64 * 2**17)
print((faults() - before) * resource.getpagesize() / 2**20)
"""


def brought(setting: str, environment: Mapping[str, str] | None = None) -> float:
    """MB."""
    code = FAULTS.format(setting=setting)
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, check=True, capture_output=True, text=True
    )
    return float(ran.stdout)


@glibc
def test_large_blocks_come_from_freed_memory() -> None:
    clean = {"PYTHONPATH": str(ROOT), "NUMPY_MADVISE_HUGEPAGE": "0"}
    assert brought("", clean) > 200  # the default: each block is new, 256 MB in all
    kept = brought("from natx.runtime.allocator import keep_freed_memory; assert keep_freed_memory()", clean)
    assert kept < 30
    assert (
        brought(
            "from natx.cli import main; import contextlib\nwith contextlib.suppress(SystemExit): main.start('', [])",
            clean,
        )
        < 30
    )


@pytest.mark.parametrize(
    "environment",
    [
        {"MALLOC_MMAP_THRESHOLD_": "65536"},
        {"MALLOC_TRIM_THRESHOLD_": "65536"},
        {"MALLOC_TOP_PAD_": "0"},
        {"MALLOC_MMAP_MAX_": "9"},
        {"GLIBC_TUNABLES": "glibc.malloc.check=3:glibc.malloc.mmap_threshold=65536"},
    ],
)
def test_an_environment_that_sets_the_limits_is_obeyed(environment: dict[str, str]) -> None:
    assert not keep_freed_memory(environment)


@glibc
@pytest.mark.parametrize("environment", [{}, {"MALLOC_ARENA_MAX": "2"}, {"GLIBC_TUNABLES": "glibc.malloc.check=3"}])
def test_other_settings_do_not_matter(environment: dict[str, str]) -> None:
    code = f"from natx.runtime.allocator import keep_freed_memory; print(keep_freed_memory({environment}))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert ran.stdout.strip() == "True"


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not keep_freed_memory({})
