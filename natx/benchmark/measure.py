"""Interleaved A/B runs, what one item of a benchmark is, and what the machine is."""

from __future__ import annotations

import platform
import re
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from natx.errors import ConfigError
from natx.runtime.provenance import provenance

# What numbers depend on beside what every report names.
LIBRARIES = ("torchattacks", "foolbox", "adversarial-robustness-toolbox", "torchreid", "mmdet")
Measure = Callable[[Callable[[], Any]], tuple[float, Any]]


class NotRun(Exception):
    """An item that cannot run here; the text says why and what to do."""


@dataclass(frozen=True)
class Paired:
    """Interleaved measurements of two runs.

    Attributes:
        a: one value a repeat.
        b: likewise; ``b[i]`` was taken right after ``a[i]``.
        outputs: what the last A and the last B returned.
    """

    a: list[float]
    b: list[float]
    outputs: tuple[Any, Any] = (None, None)

    @property
    def ratios(self) -> list[float]:
        """``a[i] / b[i]``: a drift of the machine's speed is in both."""
        return [a / b for a, b in zip(self.a, self.b)]

    def summary(self) -> dict[str, float]:
        """Median, smallest and largest ratio."""
        ratios = self.ratios
        return {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}


def stopwatch(device: torch.device, clock: Callable[[], float] = time.perf_counter) -> Measure:
    """A measure of seconds; work queued on a GPU is waited for on both sides."""

    def wait() -> None:
        if device.type != "cpu":
            torch.accelerator.synchronize(device)

    def measure(run: Callable[[], Any]) -> tuple[float, Any]:
        wait()
        start = clock()
        output = run()
        wait()
        return clock() - start, output

    return measure


def interleave(
    a: Callable[[], Any],
    b: Callable[[], Any],
    *,
    repeats: int,
    measure: Measure,
    warm_up: Sequence[Callable[[], Any]] | None = None,
) -> Paired:
    """Measure A B A B ... after a warm-up that is not measured.

    Args:
        a: first run.
        b: second run.
        repeats: pairs to measure.
        measure: calls a run and returns its value and output.
        warm_up: what to run first (default: A and B once each; shorter runs where those take minutes).
    """
    if repeats < 1:
        raise ConfigError(f"repeats must be at least 1; got {repeats}")
    for run in (a, b) if warm_up is None else warm_up:
        run()
    values: tuple[list[float], list[float]] = ([], [])
    outputs: list[Any] = [None, None]
    for _ in range(repeats):
        for side, run in enumerate((a, b)):
            value, outputs[side] = measure(run)
            values[side].append(value)
    return Paired(*values, outputs=(outputs[0], outputs[1]))


@dataclass(frozen=True)
class Measured:
    """What an item's function returns.

    Attributes:
        paired: the measurements, or None where the item is no ratio.
        predicted: the ratio by counting forwards and backwards, where it takes the run to count them.
        details: further plain values; a list of dicts becomes a table.
    """

    paired: Paired | None
    predicted: float | None = None
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Item:
    """One benchmark: what is compared, its target, and the function that measures it.

    Attributes:
        name: key in results and on the command line.
        a: what A is.
        b: what B is.
        run: measures; may raise :class:`NotRun`.
        limit: target of the median ratio, or None.
        at_least: the limit is a lower bound.
        predicted: the ratio by counting forwards and backwards, where it is known beforehand.
        unit: of the measured values.
        needs_amx: the limit holds only on a CPU with AMX.
        setting: what the item sets itself (``model``, ``batch_size``), whatever the command line says.
    """

    name: str
    a: str
    b: str
    run: Callable[[Any], Measured]
    limit: float | None = None
    at_least: bool = False
    predicted: float | None = None
    unit: str = "s"
    needs_amx: bool = False
    setting: dict[str, Any] = field(default_factory=dict)

    def met(self, ratio: float, facts: dict[str, Any]) -> bool | None:
        """Whether the median ratio keeps the limit; None where there is none for this machine."""
        if self.limit is None or (self.needs_amx and not facts["amx"]):
            return None
        return ratio >= self.limit if self.at_least else ratio <= self.limit


def run_item(item: Item, bench: Any, setting: dict[str, Any]) -> dict[str, Any]:
    """Run one item and return its result as plain values; ``setting`` (with ``machine``) goes along."""
    result: dict[str, Any] = {
        "name": item.name,
        "a": item.a,
        "b": item.b,
        "limit": item.limit,
        "bound": "at least" if item.at_least else "at most",
        **setting,
        **item.setting,
    }
    start = time.monotonic()
    try:
        measured = item.run(bench)
    except NotRun as reason:
        return {**result, "not_run": str(reason)}
    result["predicted"] = _rounded(item.predicted if measured.predicted is None else measured.predicted)
    if (paired := measured.paired) is not None:
        ratio = paired.summary()
        result |= {
            "ratio": _rounded(ratio),
            "met": item.met(ratio["median"], setting["machine"]),
            "repeats": len(paired.a),
            "unit": item.unit,
            "a_values": _rounded(paired.a),
            "b_values": _rounded(paired.b),
        }
    return {**result, "details": _rounded(measured.details), "seconds": round(time.monotonic() - start, 1)}


def _rounded(value: Any) -> Any:
    """Floats to five significant digits, in whatever nesting."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    return [_rounded(v) for v in value] if isinstance(value, (list, tuple)) else value


def cpu_facts(cpuinfo: str) -> dict[str, Any]:
    """Model name and the flags that decide how fast bf16 is, from the text of /proc/cpuinfo."""
    lines = [line.partition(":") for line in cpuinfo.splitlines()]
    values = {key.strip(): value.strip() for key, _, value in reversed(lines)}  # the first processor wins
    flags = values.get("flags", "").split()
    return {
        "cpu": values.get("model name", platform.processor() or "unknown"),
        "amx": {"amx_tile", "amx_bf16"} <= set(flags),
        "avx512_bf16": "avx512_bf16" in flags,
    }


def machine_facts(device: torch.device) -> dict[str, Any]:
    """What a result depends on: the processor, torch's choice of kernels, versions of natx and of libraries."""
    path = Path("/proc/cpuinfo")
    facts = {
        **cpu_facts(path.read_text(encoding="utf-8") if path.exists() else ""),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "onednn": torch.backends.mkldnn.is_available(),
        **provenance(device),
    }
    for name in LIBRARIES:
        try:
            facts["packages"][name] = version(name)
        except PackageNotFoundError:
            facts["packages"][name] = "not installed"
    return facts


def resident_peak(run: Callable[[], Any]) -> float:
    """MB that a run needs at its peak above what is resident before it (Linux).

    ``ru_maxrss`` would do, but a child process inherits its parent's; the kernel's own peak (VmHWM) can be reset.
    For a reproducible number set MALLOC_MMAP_THRESHOLD_ for the process, so that freed memory goes back at once.

    Raises:
        NotRun: no /proc/self/clear_refs on this system.
    """
    reset = Path("/proc/self/clear_refs")
    if not reset.exists():
        raise NotRun("needs Linux: the peak is read from /proc/self/status")

    def resident(key: str) -> float:
        match = re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
        return int(match[1]) * 1024 / 1e6 if match else float("nan")

    reset.write_text("5", encoding="utf-8")
    before = resident("VmRSS")
    run()
    return resident("VmHWM") - before
