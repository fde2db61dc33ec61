"""Judging: all columns of a table at once against a library that makes them one by one."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch

from natx.attacks import PGD
from natx.benchmark import Measured, interleave
from natx.benchmark.opponents import (
    Pixels,
    SharedStart,
    above,
    agreement,
    margin_pgd,
    peer,
    peer_columns,
    pixel_batches,
    torch_start,
)
from natx.benchmark.training import Patterns, train_until
from natx.evaluation import CLEAN, evaluate
from natx.models.checkpoint import load_weights
from natx.threat import Linf
from natx_bench.cifar import EPS, STEP, STEPS, network
from natx_bench.common import SECONDS, Bench, item, watch
from tasks.cls import ClassificationTask
from tasks.cls.datasets import CIFAR10

MARKS, MARGIN_STEPS = (10, 20, 50, 100), 30
TRAIN_STEPS, TRAIN_ACCURACY = 300, 50.0  # at most; about what the paper's nets reach under PGD (Table 2)
COLUMNS = "natx: one evaluate() of clean, PGD-10/20/50/100, C&W-30"
EACH_COLUMN = "torchattacks: clean, PGD-10, -20, -50, -100, C&W-30 (its PGD on the margin) one by one, a forward each"


@lru_cache(maxsize=1)
def trained(bench: Bench) -> tuple[ClassificationTask, Any, str]:
    """An adversarially trained net, the images its columns are measured on, and what both are."""
    data, origin = column_images(bench.images, train=bench.checkpoint is None)
    task = network(bench)
    if bench.checkpoint:
        load_weights(task, Path(bench.checkpoint))
        return task, data, f"{bench.checkpoint}; {origin}"
    inner, judge = PGD(Linf(EPS), 3, step_size=4 / 255), PGD(Linf(EPS), STEPS, step_size=STEP)
    outcome = train_until(task, data, attack=inner, judge=judge, accuracy=TRAIN_ACCURACY, most=TRAIN_STEPS)
    return task, data, f"{outcome}, on the images measured: {origin}"


def column_images(count: int, *, train: bool) -> tuple[Any, str]:
    if not Path("data/cifar-10-batches-py").exists():
        return Patterns(count), "synthetic images (no data/cifar-10-batches-py)"
    return CIFAR10(
        root="data", train=train, verify=False, limit=count
    ), f"CIFAR-10 {'training' if train else 'test'} images"


def columns(bench: Bench, success: Literal["any", "last"]) -> Measured:
    library = peer("torchattacks")
    task, data, origin = trained(bench)
    net, n = Pixels(task), len(data)
    batches = pixel_batches(task, data, bench.batch_size)
    attacks = [
        SharedStart(Linf(EPS), MARKS[-1], step_size=STEP, milestones=MARKS),
        SharedStart(Linf(EPS), MARGIN_STEPS, step_size=STEP, objective=dict(type="Margin"), name="C&W"),
    ]
    for attack in attacks:
        attack.starts = torch.cat([torch_start(batch, EPS) for batch in batches])
    peers = {CLEAN: None} | {f"PGD-{k}": library.PGD(net, eps=EPS, alpha=STEP, steps=k) for k in MARKS}
    peers["C&W"] = margin_pgd(library)(net, eps=EPS, alpha=STEP, steps=MARGIN_STEPS)
    paired = interleave(
        lambda: evaluate(task, data, attacks, batch_size=bench.batch_size, success=success),
        lambda: peer_columns(peers, net, batches),
        repeats=bench.repeats,
        measure=watch(bench),
        warm_up=(
            lambda: PGD(Linf(EPS), 1)(task, batches[0]),
            lambda: library.PGD(net, steps=1)(batches[0]["inputs"], batches[0]["data_samples"]),
        ),
    )
    evaluation, accuracies = paired.outputs
    passes = sum(result.cost.forwards + result.cost.backwards for result in evaluation.attacks)
    counted = n * (len(peers) + sum(2 * attack.steps for attack in peers.values() if attack))
    rows = agreement(evaluation, accuracies)
    details = {
        "images": n,
        "net": origin,
        "seconds": SECONDS,
        "columns in which natx leaves more images right": above(rows),
        "accuracy, same starts on both sides": rows,
    }
    return Measured(paired, predicted=passes / counted, details=details)


@item("columns_any", a=f"{COLUMNS}, success='any'", b=EACH_COLUMN, limit=0.4)
def columns_any(bench: Bench) -> Measured:
    return columns(bench, "any")


@item("columns_last", a=f"{COLUMNS}, success='last'", b=EACH_COLUMN, limit=0.65)
def columns_last(bench: Bench) -> Measured:
    return columns(bench, "last")
