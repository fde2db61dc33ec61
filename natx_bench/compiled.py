"""What ``torch.compile`` gives: training steps, and whether a batch that shrinks is better filled up or left eager."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from natx.batch import Batch
from natx.benchmark import Measured, interleave
from natx.benchmark.training import Trainer
from natx.models.compiled import Compilation, compile_network
from natx_bench.cifar import images, network, trainer
from natx_bench.common import SECONDS, Bench, item, watch
from tasks.cls import ClassificationTask

STEPS, KEPT = 20, 0.9  # of an attack: a batch's images that are not yet broken after a step, of those before it


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
    details: dict[str, Any] = {"seconds of the first compiled step and of the next": [first, again], "seconds": SECONDS}
    note_failure(details, compilation)
    paired = interleave(partial(a, batch), partial(b, batch), repeats=bench.repeats, measure=watch(bench))
    return Measured(paired, details=details)


def seconds(step: Trainer, batch: Batch) -> float:
    """Wall time of one step, for what happens once."""
    begun = time.perf_counter()
    step(batch)
    if next(step.learner.parameters()).device.type != "cpu":
        torch.accelerator.synchronize()
    return time.perf_counter() - begun


@item(
    "compiled_rest",
    a=f"the {STEPS} gradient steps of an attack that drops images: compiled for a full batch, eager for the rest",
    b="the same, the rest filled up to a full batch and compiled",
    limit=1.0,
)
def compiled_rest(bench: Bench) -> Measured:
    """Gradients to the pixels of a batch that loses a tenth of its images a step."""
    full = bench.batch_size
    task, x = network(bench).eval().requires_grad_(False), images(bench)["inputs"]
    counts = [max(1, round(full * KEPT**step)) for step in range(STEPS)]
    compilation = compile_network(task, sizes=[full])
    pixel_gradients(task, x)
    paired = interleave(
        lambda: [pixel_gradients(task, x[:count]) for count in counts],
        lambda: [pixel_gradients(task, F.pad(x[:count], (0, 0, 0, 0, 0, 0, 0, full - count))) for count in counts],
        repeats=bench.repeats,
        measure=watch(bench),
    )
    details: dict[str, Any] = {"images in a step": counts, "seconds": SECONDS}
    note_failure(details, compilation)
    return Measured(paired, details=details)


def pixel_gradients(task: ClassificationTask, x: Tensor) -> Tensor:
    """The gradient of the largest logits' sum with respect to the pixels."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        return torch.autograd.grad(task.logits(x).amax(1).sum(), x)[0]


def note_failure(details: dict[str, Any], compilation: Compilation) -> None:
    """Say in an item's details that its B was not compiled after all."""
    if compilation.failure is not None:
        details["note"] = f"nothing was compiled: {compilation.failure}"
