"""Tests on the pretended device run in a process of their own, all files of them in the same.

Autograd keeps threads for the device, and a process with such threads cannot be forked, which other tests do.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pretended_device import FLAG, pretended
from workshop import ROOT, environment

MOST_SECONDS = 1800


@pytest.fixture()
def device() -> Iterator[torch.device]:
    """The pretended device, there for one test."""
    with pretended() as device:
        yield device


class OwnProcess(pytest.Item):
    """All tests of some files as one.

    Attributes:
        files: where they are; begins as the one file that the item was collected from.
    """

    files: tuple[Path, ...] = ()

    def runtest(self) -> None:
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", *map(str, self.files)]
        process = subprocess.run(
            command, env=environment(**{FLAG: "1"}), cwd=ROOT, capture_output=True, text=True, check=False
        )
        if process.returncode:
            pytest.fail(process.stdout[-8000:] + process.stderr[-2000:], pytrace=False)


class DeviceFile(pytest.File):
    """A file of tests on the device."""

    def collect(self) -> Iterator[pytest.Item]:
        item = OwnProcess.from_parent(self, name="in a process of its own")
        item.files = (self.path,)
        item.add_marker(pytest.mark.timeout(MOST_SECONDS))
        yield item


def pytest_pycollect_makemodule(module_path: Path, parent: Any) -> DeviceFile | None:
    """The file's own tests in the process that has the device, else the one that starts it."""
    return None if os.environ.get(FLAG) else DeviceFile.from_parent(parent, path=module_path)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One process for all files that were asked for: each would import the same for seconds."""
    own = [item for item in items if isinstance(item, OwnProcess)]
    if own:
        own[0].files = tuple(file for item in own for file in item.files)
        items[:] = [item for item in items if item not in own[1:]]
