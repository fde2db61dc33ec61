"""Object detection: what MTD and the nasty term cost, on the small SSD of configs/det/ssd_digits_*.py.

Models and methods are those configs' own. ``tasks.det`` is imported where an item runs: mmdet takes seconds and need
not be installed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from natx.batch import Batch, to_device
from natx.benchmark import Measured
from natx.benchmark.opponents import peer
from natx.benchmark.training import Trainer, settled
from natx.config import load_config, plain_dict
from natx.models.adversary import Adversary
from natx.registry import METHODS, TASKS
from natx.task import Task
from natx.training.learner import Learner
from natx_bench.common import Bench, compare_steps, item
from natx_bench.fresh import compare_memory, memory_work

SIDE, BATCH = 160, 16
SMALLEST, LARGEST, MOST = 24, 72, 4  # sides of the objects in pixels, and most objects an image, as in the digits' set
SETTING = dict(model=f"small SSD, {SIDE} x {SIDE} pixels", batch_size=BATCH)
MTD_NAT = "MTD+NAT training step (clean and MTD images, random adversary)"


def scenes(bench: Bench, count: int | None = None) -> Batch:
    """Random images in [0,1] with one to four random boxes of random classes each."""
    from tasks.det.datasets import Annotation

    generator, n, annotations = torch.Generator().manual_seed(0), count or bench.batch_size, []
    for i in range(n):
        objects = 1 + i % MOST
        sides = SMALLEST + (LARGEST - SMALLEST) * torch.rand(objects, 2, generator=generator)
        corners = (SIDE - sides) * torch.rand(objects, 2, generator=generator)
        labels = torch.randint(10, (objects,), generator=generator)
        boxes, easy = torch.cat([corners, corners + sides], 1), torch.zeros(objects, dtype=torch.bool)
        size = (SIDE, SIDE)
        annotations.append(Annotation(boxes, labels, easy, shape=size, original=size, scale=(1.0, 1.0), path=""))
    inputs = torch.rand(n, 3, SIDE, SIDE, generator=generator)
    return to_device({"inputs": inputs, "data_samples": annotations, "index": torch.arange(n)}, bench.device)


def detector(bench: Bench, *, seed: int = 0, channels_last: bool = True) -> Task:
    """The small SSD with random weights, in eval mode, its batch-norm statistics those of random images."""
    peer("mmdet", extra="det")
    config = plain_dict(load_config("configs/det/ssd_digits_std.py").task)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        task = TASKS.build({**config, "channels_last": channels_last}).to(bench.device)
    return settled(task, scenes(bench, BATCH))


def trainer(bench: Bench, kind: str, *, amp: str | None = None, channels_last: bool = True) -> Trainer:
    """Training steps of ``configs/det/ssd_digits_<kind>.py``, without augmentation and against a random adversary."""
    task = detector(bench, channels_last=channels_last)
    config = plain_dict(load_config(f"configs/det/ssd_digits_{kind}.py").method)
    for term in config.get("terms") or ():
        if "adversary" in term:
            term["adversary"] = Adversary([detector(bench, seed=1, channels_last=channels_last)])
    method = METHODS.build(config)
    learner = Learner(task, method, amp=amp).to(bench.device)
    method.prepare(learner.task, bench.device)
    return Trainer(learner)


def against(bench: Bench, kind: str) -> Measured:
    """MTD+NAT against another training."""
    bench = replace(bench, batch_size=BATCH)
    return compare_steps(bench, trainer(bench, "mtd_nat"), trainer(bench, kind), scenes(bench))


@item(
    "mtd_nat_step_vs_union",
    a=MTD_NAT,
    b="the same without the nasty term (MTD on clean and adversarial images)",
    limit=1.25,
    setting=SETTING,
)
def mtd_nat_step_vs_union(bench: Bench) -> Measured:
    return against(bench, "mtd_union")


@item("mtd_nat_step_vs_mtd", a=MTD_NAT, b="MTD training step (adversarial images alone)", setting=SETTING)
def mtd_nat_step_vs_mtd(bench: Bench) -> Measured:
    return against(bench, "mtd")


@item(
    "mtd_nat_bf16_vs_fp32",
    a="MTD+NAT training step, fp32, NCHW",
    b="MTD+NAT training step, bf16 autocast, channels_last",
    setting=SETTING,
)
def mtd_nat_bf16_vs_fp32(bench: Bench) -> Measured:
    bench = replace(bench, batch_size=BATCH)
    batch = scenes(bench)
    slow, fast = trainer(bench, "mtd_nat", channels_last=False), trainer(bench, "mtd_nat", amp="bfloat16")
    return Measured(bench.timed(partial(slow, batch), partial(fast, batch)), details={"note": "A / B is the speed-up"})


def step(bench: Bench, kind: str) -> Callable[[], Any]:
    """A training step as a run of its own."""
    return partial(trainer(bench, kind), scenes(bench))


memory_work("det_mtd")(partial(step, kind="mtd"))
memory_work("det_std")(partial(step, kind="std"))


@item(
    "mtd_memory",
    a="peak memory of an MTD training step (adversarial images alone) above model and batch",
    b="peak memory of a standard training step above model and batch",
    limit=1.3,
    unit="MB",
    setting=SETTING,
)
def mtd_memory(bench: Bench) -> Measured:
    peer("mmdet", extra="det")
    return compare_memory(replace(bench, batch_size=BATCH), "det_mtd", "det_std")
