"""Peak memory of attacks on CIFAR networks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from natx.benchmark import Measured
from natx_bench.cifar import images, network, pgd10, trainer
from natx_bench.common import Bench, item
from natx_bench.fresh import compare_memory, memory_work


@memory_work("attack")
def attack(bench: Bench) -> Callable[[], Any]:
    task, batch = network(bench), images(bench)
    return partial(pgd10(), task.train(), batch)


@memory_work("train")
def train(bench: Bench) -> Callable[[], Any]:
    return partial(trainer(bench, "VT"), images(bench))


@item(
    "attack_memory",
    a="peak memory of PGD-10 above model and batch",
    b="peak memory of a plain training step (VT, SGD with momentum) above model and batch",
    limit=1.0,
    unit="MB",
)
def attack_memory(bench: Bench) -> Measured:
    return compare_memory(bench, "attack", "train")
