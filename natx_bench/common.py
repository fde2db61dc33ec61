"""What every item gets and how it is registered."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from natx.batch import Batch
from natx.benchmark import Item, Measured, Paired, interleave, stopwatch
from natx.benchmark.measure import Measure
from natx.benchmark.training import Trainer

ITEMS: dict[str, Item] = {}
SECONDS = "CPU time of the process on a CPU"  # for the details of items that use watch()


@dataclass(frozen=True)
class Bench:
    """What the command line sets."""

    device: torch.device
    model: str
    batch_size: int
    repeats: int
    images: int
    checkpoint: str | None = None

    def timed(self, a: Callable[[], Any], b: Callable[[], Any], **kwargs: Any) -> Paired:
        """Interleaved seconds of A and B."""
        return interleave(a, b, repeats=self.repeats, measure=stopwatch(self.device), **kwargs)


def watch(bench: Bench) -> Measure:
    """A measure of seconds; on a CPU those of the process: on a busy machine wall time says little."""
    return stopwatch(bench.device, time.process_time if bench.device.type == "cpu" else time.perf_counter)


def item(name: str, **settings: Any) -> Callable[[Callable[[Bench], Measured]], Callable[[Bench], Measured]]:
    """Register a function as the item ``name``; ``settings`` are the other fields of :class:`natx.benchmark.Item`."""

    def register(function: Callable[[Bench], Measured]) -> Callable[[Bench], Measured]:
        if name in ITEMS:
            raise ValueError(f"two items are called {name}")
        ITEMS[name] = Item(name=name, run=function, **settings)
        return function

    return register


def compare_steps(bench: Bench, a: Trainer, b: Trainer, batch: Batch) -> Measured:
    """Seconds of two training steps on one batch, with the ratio that counting predicts."""
    details = {"counted in an image's step, A and B": [a.units, b.units], "seconds": SECONDS}
    paired = interleave(partial(a, batch), partial(b, batch), repeats=bench.repeats, measure=watch(bench))
    return Measured(paired, predicted=a.units / b.units, details=details)
