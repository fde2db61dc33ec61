"""Benchmarks: a number is a ratio of two runs on the same machine in the same minutes (``tools/benchmark.py``)."""

from natx.benchmark.measure import (
    Item,
    Measured,
    NotRun,
    Paired,
    interleave,
    machine_facts,
    resident_peak,
    run_item,
    stopwatch,
)
from natx.benchmark.report import add_result, describe, machine_line, markdown, read_results

__all__ = [
    "Item",
    "Measured",
    "NotRun",
    "Paired",
    "add_result",
    "describe",
    "interleave",
    "machine_facts",
    "machine_line",
    "markdown",
    "read_results",
    "resident_peak",
    "run_item",
    "stopwatch",
]
