"""One process of several that fails ends the others, and its error is the last thing that is said."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from torch.distributed import HashStore
from workshop import environment

from natx import cli
from natx.errors import ConfigError
from natx.runtime import processes
from natx.runtime.processes import Watch, slurm_meeting

# Process 1 fails as MODE says; process 0 waits for it in a collective, for days unless it is told.
WORKER = """
import argparse, os, sys, time
import torch
from natx import cli
from natx.errors import ConfigError
from natx.runtime.processes import PATIENCE


def main():
    cli.set_up(argparse.Namespace(device="cpu", threads=1, launcher=sys.argv[2]))
    torch.distributed.barrier()
    assert torch.distributed.get_world_size() == 2
    group = torch.distributed.distributed_c10d._get_default_group()
    assert group._get_backend(torch.device("cpu")).options._timeout == PATIENCE  # one may wait for another job
    if os.environ["RANK"] == "1":
        if sys.argv[1] == "user":
            raise ConfigError("process 1 cannot go on")
        if sys.argv[1] == "bug":
            raise ZeroDivisionError("a bug of process 1")
    torch.distributed.barrier()


cli.run(main, debug=False)
"""


TASK = {"SLURM_PROCID": "5", "SLURM_LOCALID": "1", "SLURM_STEP_NUM_TASKS": "8", "SLURM_JOB_NODELIST": "gpu[03-04]"}


def pair(mode: str, port: int, *, launcher: str = "pytorch") -> tuple[list[int], list[str]]:
    """Exit codes of two processes and what they wrote to stderr; they have a minute and what it takes to start them."""
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE") if launcher == "pytorch" else tuple(TASK)[:3]
    meeting = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, mode, launcher],
            env=environment(**dict(zip(names, (str(rank), str(rank), "2"))), **meeting),
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    errors = [worker.communicate(timeout=200)[1] for worker in workers]
    return [worker.returncode for worker in workers], errors


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    ("mode", "code", "text"),
    [("user", 2, "process 1 cannot go on"), ("bug", 1, "ZeroDivisionError: a bug of process 1")],
)
def test_a_process_that_fails_ends_the_others(mode: str, code: int, text: str) -> None:
    codes, errors = pair(mode, free_port())
    assert codes == [code, code], errors
    last = [error.rstrip().splitlines()[-1] for error in errors]
    assert last[0] == f"error: process 1 failed: {text}"
    assert text in last[1]


@pytest.mark.parametrize("launcher", ["pytorch", "slurm"])
def test_processes_that_end_well_are_not_missed(launcher: str) -> None:
    codes, errors = pair("none", free_port(), launcher=launcher)
    assert codes == [0, 0], errors


def watch(store: HashStore, rank: int, count: int = 2) -> Watch:
    return Watch(store, rank, count, leave=lambda code: None)


def test_a_process_that_is_killed_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(processes.time, "monotonic", lambda: now[0])
    store = HashStore()
    first, second = watch(store, 0), watch(store, 1)
    for _ in range(3):
        now[0] += 10
        assert first.look() is None and second.look() is None
    for _ in range(5):  # process 1 is gone
        now[0] += 10
        assert first.look() is None
    now[0] += 10
    verdict = first.look()
    assert verdict is not None and "process 1 gives no sign of life" in verdict[0]


def test_a_process_that_has_ended_is_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(processes.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(processes, "LOOK", 0.01)
    store = HashStore()
    first, second = watch(store, 0), watch(store, 1)
    first.look(), second.look()
    second.start()
    second.stop()
    now[0] += 1000
    first.look()
    now[0] += 1000
    assert first.look() is None


def test_the_first_failure_is_the_one_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "LOOK", 0.0)
    store = HashStore()
    watch(store, 1, 3).report("out of memory", code=2)
    watch(store, 2, 3).report("another failed", code=1)
    assert watch(store, 0, 3).look() == ("process 1 failed: out of memory", 2)


def test_a_store_that_is_gone_ends_the_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Gone:
        def add(self, key: str, count: int) -> int:
            raise RuntimeError("Connection reset by peer")

    assert Watch(Gone(), 0, 2).look() == ("the process that holds the job together has ended", 1)  # type: ignore[arg-type]


def test_tasks_of_slurm_meet_on_the_first_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "scontrol"
    program.write_text('#!/bin/sh\n[ "$*" = "show hostnames gpu[03-04]" ] && printf "gpu03\\ngpu04\\n"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    meeting = slurm_meeting(TASK | {"SLURM_JOB_ID": "9000123"})
    assert {name: meeting[name] for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE")} == {
        "RANK": "5",
        "LOCAL_RANK": "1",
        "WORLD_SIZE": "8",
    }
    assert meeting["MASTER_ADDR"] == "gpu03"
    ports = {slurm_meeting(TASK | {"SLURM_JOB_ID": str(job)})["MASTER_PORT"] for job in range(9000123, 9000133)}
    assert len(ports) == 10 and meeting["MASTER_PORT"] in ports  # jobs that share a machine do not meet
    named = slurm_meeting(TASK | {"MASTER_ADDR": "there", "MASTER_PORT": "7"})
    assert (named["MASTER_ADDR"], named["MASTER_PORT"]) == ("there", "7")


@pytest.mark.parametrize("name", TASK)
def test_what_srun_did_not_say_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=f"{name}.*: (srun|set MASTER_ADDR)"):
        slurm_meeting({key: value for key, value in TASK.items() if key != name})


def test_each_task_takes_the_gpu_that_slurm_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert [cli._place("slurm", 8), cli._place("slurm", 1), cli._place("pytorch", 8)] == [3, 0, 3]
