"""Memory that the C library keeps (natx.runtime.allocator): an attack's time with it and without."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from functools import partial

import torch

from natx.attacks import PGD
from natx.benchmark import Measured, NotRun, interleave
from natx.runtime.allocator import VARIABLES, keep_freed_memory
from natx.threat import Linf
from natx_bench.cifar import EPS, STEP, images, network
from natx_bench.common import SECONDS, Bench, item
from natx_bench.fresh import root_on_path

STEPS = 3
WORKER = "import sys; from natx_bench.allocator import worker; worker(*sys.argv[1:])"


def worker(keep: str, model: str, batch_size: str, threads: str) -> None:
    """What the fresh process does: seconds of CPU of an attack, after one that is not measured, on its output."""
    kept = keep == "keep" and keep_freed_memory()
    torch.set_num_threads(int(threads))
    bench = Bench(torch.device("cpu"), model, int(batch_size), 1, 1)
    task, batch, attack = network(bench), images(bench), PGD(Linf(EPS), STEPS, step_size=STEP)
    attack(task, batch)
    start = time.process_time()
    attack(task, batch)
    sys.stdout.write(json.dumps({"kept": kept, "seconds": time.process_time() - start}))


def in_fresh_process(bench: Bench, keep: str) -> float:
    """The worker's seconds; the process has the C library's own settings, whatever this one was started with.

    Raises:
        NotRun: the C library has none to set.
    """
    environment = {key: value for key, value in root_on_path().items() if key not in (*VARIABLES, "GLIBC_TUNABLES")}
    words = [keep, bench.model, str(bench.batch_size), str(torch.get_num_threads())]
    ran = subprocess.run([sys.executable, "-c", WORKER, *words], env=environment, capture_output=True, text=True)
    if ran.returncode:
        raise RuntimeError(f"the measurement failed: {ran.stderr}")
    found = json.loads(ran.stdout.splitlines()[-1])
    if keep == "keep" and not found["kept"]:
        raise NotRun("needs the GNU C library")
    return float(found["seconds"])


@item(
    "kept_memory",
    a="PGD-3 where the C library keeps freed memory (as the program sets it)",
    b="the same where it gives large blocks back to the system (its default)",
    limit=1.0,
)
def kept_memory(bench: Bench) -> Measured:
    if bench.device.type != "cpu":
        raise NotRun("needs --device cpu: a GPU's memory is kept by torch")
    paired = interleave(
        partial(in_fresh_process, bench, "keep"),
        partial(in_fresh_process, bench, "default"),
        repeats=bench.repeats,
        measure=lambda run: (run(), None),
        warm_up=(),
    )
    return Measured(paired, details={"method": "a fresh process a run, after a run unmeasured", "seconds": SECONDS})
