"""Peak memory of a run, measured in a process of its own: the program calls itself with ``--memory-worker``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from natx.benchmark import Measured, NotRun, interleave, resident_peak
from natx_bench.common import Bench

COMMAND = (sys.executable, "-m", "natx", "bench")
ROOT = str(Path(__file__).resolve().parents[1])
Work = Callable[[Bench], Callable[[], Any]]
WORKS: dict[str, Work] = {}


def memory_work(kind: str) -> Callable[[Work], Work]:
    """Register a function that prepares a run whose peak memory is to be measured."""

    def register(prepare: Work) -> Work:
        WORKS[kind] = prepare
        return prepare

    return register


def peak_memory(bench: Bench, kind: str) -> float:
    """MB that a run needs above what its preparation holds (the model, the batch), on this process's device."""
    if bench.device.type == "cpu":
        WORKS[kind](replace(bench, model="resnet8_cifar", batch_size=2))()  # loads libraries and code
        return resident_peak(WORKS[kind](bench))
    work = WORKS[kind](bench)
    torch.cuda.reset_peak_memory_stats(bench.device)
    before = torch.cuda.memory_allocated(bench.device)
    work()
    return (torch.cuda.max_memory_allocated(bench.device) - before) / 1e6


def root_on_path() -> dict[str, str]:
    """The environment of a new process that imports what this one did."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([ROOT, os.environ.get("PYTHONPATH", "")])}


def in_fresh_process(bench: Bench, kind: str) -> float:
    """:func:`peak_memory` in a new process with the same settings."""
    # Every larger block comes from and goes back to the system at once, so the resident peak is what lives.
    environment = root_on_path() | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    command = [*COMMAND, "--memory-worker", kind, "--model", bench.model]
    command += ["--batch-size", str(bench.batch_size), "--device", str(bench.device)]
    command += ["--threads", str(torch.get_num_threads())]
    process = subprocess.run(command, env=environment, capture_output=True, text=True)
    if process.returncode:
        raise RuntimeError(f"the memory measurement failed: {' '.join(command)}\n{process.stderr}")
    return float(json.loads(process.stdout.splitlines()[-1])["MB"])


def compare_memory(bench: Bench, a: str, b: str) -> Measured:
    """Peak memory of two kinds of runs, taken in turns."""
    if bench.device.type == "cpu" and not Path("/proc/self/clear_refs").exists():
        raise NotRun("needs Linux: the peak is read from /proc/self/status")
    paired = interleave(
        partial(in_fresh_process, bench, a),
        partial(in_fresh_process, bench, b),
        repeats=bench.repeats,
        measure=lambda run: (run(), None),
        warm_up=(),
    )
    gpu, cpu = "torch.cuda.max_memory_allocated", "VmHWM - VmRSS of /proc/self/status, peak reset by clear_refs"
    return Measured(paired, details={"method": f"fresh process a run; {gpu if bench.device.type == 'cuda' else cpu}"})
