"""Seconds an epoch on a GPU, beside the paper's."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from natx.batch import Batch
from natx.benchmark import Measured, NotRun, stopwatch
from natx_bench.cifar import images, trainer
from natx_bench.common import Bench, item

BATCH, STEPS, WARM_UP = 512, 20, 3
# Table 9 of the paper, CIFAR-10, seconds an epoch on an RTX 4090.
PAPER = {
    "resnet18_cifar": {"VT": 15.3, "PGD-AT": 108.6, "NAT": 129.8},
    "wrn_34_10": {"VT": 90.2, "PGD-AT": 1047.2, "NAT": 1165.8},
}


def epoch_rows(bench: Bench, *, models: dict[str, dict[str, float]], batch: Batch, steps: int) -> list[dict[str, Any]]:
    """Seconds an epoch of 50,000 images (whole batches) from the mean time of ``steps`` steps."""
    rows = []
    for model, paper in models.items():
        for kind, reported in paper.items():
            row: dict[str, Any] = {"model": model, "training": kind, "paper (RTX 4090), s": reported}
            for precision in ("fp32", "bf16"):
                try:
                    step = partial(trainer(bench, kind, bf16=precision == "bf16", model=model), batch)
                    for _ in range(WARM_UP):
                        step()
                    seconds = sum(stopwatch(bench.device)(step)[0] for _ in range(steps))
                    row[f"{precision}, s"] = seconds / steps * (50_000 // len(batch["index"]))
                except torch.OutOfMemoryError:
                    row[f"{precision}, s"] = "out of memory"
            rows.append(row)
    return rows


@item("epoch_times", a="seconds an epoch here", b="Table 9 of the paper")
def epoch_times(bench: Bench) -> Measured:
    if bench.device.type != "cuda":
        raise NotRun("epoch times need a GPU: --device cuda")
    rows = epoch_rows(bench, models=PAPER, batch=images(bench, BATCH), steps=STEPS)
    note = f"{STEPS} steps of {BATCH} random images after {WARM_UP}, no data loading; bf16 channels_last"
    return Measured(None, details={"method": note, "epochs": rows})
