"""Processes of their own without the seconds that their imports take: forks of a server that has imported all once.

A fork has an exit status, a standard output and signals of its own, as a started process has, and what it changes
is gone with it. What it does not show is what a fresh process imports. (Forks of the tests' own process would be
simpler, but torch's autograd refuses to work in them.)
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from workshop import ROOT

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["natx.training.run", "natx.judging.judge", "natx.testing", "tasks.cls", "tasks.reid"])


class Fork:
    """A process that calls ``work`` with ``arguments`` and ends.

    Args:
        work: a function of a module, by whose name the process finds it.
        *arguments: what can be pickled.
        folders: where it imports from before all others.
        **variables: added to its environment.

    Attributes:
        returncode: exit status, negative for a signal; None before it has ended.
        stdout, stderr: what it wrote; empty before it has ended.
    """

    def __init__(
        self, work: Callable[..., Any], *arguments: Any, folders: tuple[Path, ...] = (), **variables: str
    ) -> None:
        self.returncode: int | None = None
        self.stdout = self.stderr = ""
        self._outputs = [tempfile.NamedTemporaryFile(mode="r", suffix=name) for name in ("-stdout", "-stderr")]
        names = [output.name for output in self._outputs]
        self._process = SERVER.Process(target=_be, args=(names, folders, variables, work, arguments))
        self._process.start()

    def wait(self) -> Fork:
        """This fork once it has ended."""
        self._process.join()
        self.running()
        return self

    def running(self) -> bool:
        """Whether it has not ended yet."""
        if self.returncode is None and self._process.exitcode is not None:
            self.returncode = self._process.exitcode
            self.stdout, self.stderr = (output.read() for output in self._outputs)
            for output in self._outputs:
                output.close()
        return self.returncode is None

    def kill(self) -> None:
        """End it."""
        self._process.kill()


def run_tool(tool: str, *arguments: Any, folders: tuple[Path, ...] = (), **variables: str) -> Fork:
    """A tool of tools/ run to its end in a process of its own, on the CPU with one thread."""
    return Fork(_tool, tool, arguments, folders=folders, **variables).wait()


def run_tool_pair(tool: str, *arguments: Any, folders: tuple[Path, ...] = ()) -> list[Fork]:
    """The same in two processes that find each other as torchrun's do; where one fails, the other is killed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    words = (*arguments, "--launcher", "pytorch")
    ranks = [{**meeting, "RANK": rank, "LOCAL_RANK": rank} for rank in "01"]
    return _together([Fork(_tool, tool, words, folders=folders, **variables) for variables in ranks])


def run_pair(work: Callable[[Path, int], Any], folder: Path) -> None:
    """``work(folder, rank)`` in two processes of one group (gloo); raises AssertionError where one fails."""
    for fork in _together([Fork(_member, work, folder, rank) for rank in range(2)]):
        assert fork.returncode == 0, fork.stderr[-3000:]


def _together(forks: list[Fork]) -> list[Fork]:
    """All forks once they have ended; the first that fails ends the others, as a launcher does."""
    while any([fork.running() for fork in forks]):
        if any(fork.returncode for fork in forks):
            for fork in forks:
                fork.kill()
        time.sleep(0.02)
    return forks


def _be(
    outputs: list[str],
    folders: tuple[Path, ...],
    variables: dict[str, str],
    work: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> None:
    """The process: its streams, its place and its one thread; then its work."""
    for number, name in enumerate(outputs, start=1):
        os.dup2(os.open(name, os.O_WRONLY), number)
    sys.path[:0] = map(str, folders)
    os.environ.update(variables)
    os.chdir(ROOT)
    torch.set_num_threads(1)
    work(*arguments)


def _tool(tool: str, arguments: tuple[Any, ...]) -> None:
    sys.argv = [tool, *map(str, arguments), "--device", "cpu", "--threads", "1"]
    runpy.run_path(str(ROOT / "tools" / tool), run_name="__main__")


def _member(work: Callable[[Path, int], Any], folder: Path, rank: int) -> None:
    meeting = f"file://{folder}/meeting"
    torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    work(folder, rank)
    torch.distributed.destroy_process_group()
