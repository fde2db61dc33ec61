"""Training steps of classification methods against each other."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import torch

from natx.batch import Batch
from natx.benchmark import Measured
from natx.benchmark.training import Trainer
from natx.models.compiled import compile_network
from natx_bench.cifar import images, n_fgsm, trainer
from natx_bench.common import Bench, compare_steps, item

UNION = "the same without the nasty term (Adversarial on clean + PGD-10 images)"


@item("nat_step_vs_union", a="NAT training step, random adversary", b=UNION, limit=1.12)
def nat_step_vs_union(bench: Bench) -> Measured:
    return compare_steps(bench, trainer(bench, "NAT"), trainer(bench, "union"), images(bench))


@item(
    "single_vs_multi_step",
    a="NAT training step with N-FGSM",
    b="NAT training step with PGD-10",
    limit=0.40,
)
def single_vs_multi_step(bench: Bench) -> Measured:
    return compare_steps(bench, trainer(bench, "NAT", attack=n_fgsm()), trainer(bench, "NAT"), images(bench))


@item(
    "bf16_vs_fp32",
    a="NAT training step, fp32, NCHW",
    b="NAT training step, bf16 autocast, channels_last",
    limit=2.5,
    at_least=True,
    needs_amx=True,
)
def bf16_vs_fp32(bench: Bench) -> Measured:
    batch = images(bench)
    paired = bench.timed(partial(trainer(bench, "NAT"), batch), partial(trainer(bench, "NAT", bf16=True), batch))
    return Measured(paired, details={"note": "A / B is the speed-up; the limit is for CPUs with AMX"})


@item(
    "compiled_step", a="NAT training step, fp32", b="the same, compiled in place (inductor)", limit=1.0, at_least=True
)
def compiled_step(bench: Bench) -> Measured:
    return compiled(bench, bf16=False)


@item(
    "compiled_step_bf16",
    a="NAT training step, bf16 autocast, channels_last",
    b="the same, compiled in place (inductor)",
    limit=1.0,
    at_least=True,
)
def compiled_step_bf16(bench: Bench) -> Measured:
    return compiled(bench, bf16=True)


def compiled(bench: Bench, *, bf16: bool) -> Measured:
    """A step against a compiled one; A / B is the speed-up, and the first call is in neither."""
    batch = images(bench)
    a, b = trainer(bench, "NAT", bf16=bf16), trainer(bench, "NAT", bf16=bf16)
    compilation = compile_network(b.learner.task, sizes=[bench.batch_size, 2 * bench.batch_size])
    first, again = seconds(b, batch), seconds(b, batch)
    details: dict[str, Any] = {"seconds of the first compiled step and of the next": [first, again]}
    if compilation.failure is not None:
        details["note"] = f"nothing was compiled: {compilation.failure}"
    return Measured(bench.timed(partial(a, batch), partial(b, batch)), details=details)


def seconds(step: Trainer, batch: Batch) -> float:
    """Wall time of one step, for what happens once."""
    begun = time.perf_counter()
    step(batch)
    if next(step.learner.parameters()).device.type != "cpu":
        torch.accelerator.synchronize()
    return time.perf_counter() - begun
