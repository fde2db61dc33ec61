"""Several processes of one job: how they meet under Slurm; where one fails, the others end soon and say why."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta

import torch
from torch.distributed import Store

from natx.errors import ConfigError

# What torch calls a process's place in the job, and what srun calls it.
SLURM = {"RANK": "SLURM_PROCID", "LOCAL_RANK": "SLURM_LOCALID", "WORLD_SIZE": "SLURM_STEP_NUM_TASKS"}
PORTS = range(20_000, 29_000)  # below those that systems hand out by themselves
LOOK = 2.0  # seconds between two looks at the others
PATIENCE = timedelta(days=7)  # torch gives up after 30 minutes, on GPUs after 10
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


def slurm_meeting(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables by which torch's processes find each other, from those that srun gives to a task.

    They meet on the first machine of the job, at a port that follows from the job's number; ``MASTER_ADDR`` and
    ``MASTER_PORT`` name another place. mmengine's launcher does the same for GPUs alone, with one port for all jobs.

    Raises:
        ConfigError: this is no task of srun, or the machines' names cannot be had.
    """
    if missing := [name for name in SLURM.values() if name not in variables]:
        raise ConfigError(f"--launcher slurm needs srun, which sets {missing[0]}: srun --ntasks-per-node=N natx ...")
    meeting = {name: variables[source] for name, source in SLURM.items()}
    job = int(variables.get("SLURM_JOB_ID", "0"))
    meeting["MASTER_PORT"] = variables.get("MASTER_PORT") or str(PORTS[job % len(PORTS)])
    meeting["MASTER_ADDR"] = variables.get("MASTER_ADDR") or _first_machine(variables.get("SLURM_JOB_NODELIST", ""))
    return meeting


def _first_machine(machines: str) -> str:
    """The first of the machines that Slurm writes in short, ``gpu[03-04]``."""
    try:
        done = subprocess.run(["scontrol", "show", "hostnames", machines], capture_output=True, text=True, check=True)
        return done.stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError) as error:
        raise ConfigError(
            f"scontrol does not say the machines of SLURM_JOB_NODELIST={machines!r}: set MASTER_ADDR to the first one"
        ) from error


def meet(backend: str) -> None:
    """Make the group of a job's processes, which find each other by torchrun's variables within torch's own time.

    After that they wait for each other as long as it takes: one may wait for another job that trains the same
    adversary, or audit a report alone, for hours. Those that fail or die are missed by :class:`Watch`.
    """
    store, rank, count = next(torch.distributed.rendezvous("env://"))
    store.set_timeout(PATIENCE)
    torch.distributed.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=PATIENCE)


def watch() -> Watch:
    """Watch the processes of the group that was just made."""
    store = torch.distributed.distributed_c10d._get_default_store()
    copy = store.clone() if hasattr(store, "clone") else store  # a connection of its own: the other may be waiting
    copy.set_timeout(timedelta(seconds=10))
    watching = Watch(copy, torch.distributed.get_rank(), torch.distributed.get_world_size())
    watching.start()
    return watching
