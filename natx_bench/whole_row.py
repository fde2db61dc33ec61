"""Judging with AutoAttack: its column against the library itself, and a table's row with and without a pool.

An image that withstands AutoAttack takes thousands of forwards: the first item looks at the first images of the other
columns items and repeats seldom.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from natx.attacks import PGD, Attack, AutoAttack
from natx.benchmark import Measured, Paired, interleave
from natx.benchmark.opponents import Pixels, above, agreement, peer_autoattack, pixel_batches
from natx.data import Part
from natx.evaluation import Evaluation, evaluate
from natx.threat import Linf
from natx_bench.cifar import EPS, STEP
from natx_bench.columns import MARGIN_STEPS, MARKS, trained
from natx_bench.common import SECONDS, Bench, item, watch

IMAGES, REPEATS, SEED = 64, 3, 0
ROW = "clean, PGD-10/20/50/100, C&W-30 and AutoAttack"


def attacks() -> list[Attack]:
    """The row of configs/attacks/linf8_table.py."""
    threat = Linf(EPS)
    return [
        PGD(threat, MARKS[-1], step_size=STEP, milestones=MARKS),
        PGD(threat, MARGIN_STEPS, step_size=STEP, objective=dict(type="Margin"), name="C&W"),
        AutoAttack(threat, seed=SEED),
    ]


def first_images(bench: Bench, count: int) -> tuple[Any, Part, dict[str, Any]]:
    """The net of the columns items, the first of its images, and what to say of both."""
    task, data, origin = trained(bench)
    few = Part(data, range(min(count, len(data))))
    return task, few, {"images": f"the first {len(few)}", "net": f"{origin} (all {len(data)})", "seconds": SECONDS}


def compared(bench: Bench, a: Any, b: Any, *, repeats: int) -> Paired:
    """A and B in turns, after a few steps of PGD as a warm-up: either takes minutes."""
    task, data, _ = first_images(bench, IMAGES)
    batch = pixel_batches(task, data, bench.batch_size)[0]
    warm_up = [lambda: PGD(Linf(EPS), 3)(task, batch)]
    return interleave(a, b, repeats=repeats, measure=watch(bench), warm_up=warm_up)


@item(
    "autoattack_vs_pyaa",
    a="natx: evaluate() of clean and AutoAttack",
    b="pyautoattack called directly, standard version, same images, seed and batch",
    limit=1.03,
    predicted=1.0,
)
def autoattack_vs_pyaa(bench: Bench) -> Measured:
    task, data, details = first_images(bench, IMAGES)
    attack, net = AutoAttack(Linf(EPS), seed=SEED), Pixels(task)
    batches = pixel_batches(task, data, attack.block_size)
    paired = compared(
        bench,
        partial(evaluate, task, data, [attack], batch_size=bench.batch_size),
        partial(peer_autoattack, net, batches, eps=EPS, seed=SEED),
        repeats=min(bench.repeats, REPEATS),
    )
    evaluation, accuracy = paired.outputs
    rows = agreement(evaluation, {attack.name: accuracy}, library="pyautoattack")
    details |= {"columns in which natx leaves more images right": above(rows), "accuracy": rows}
    return Measured(paired, details=details)


def passes(evaluation: Evaluation) -> int:
    """Forwards and backwards in all."""
    return sum(result.cost.forwards + result.cost.backwards for result in evaluation.attacks)


def costs(each: Evaluation, pooled: Evaluation) -> list[dict[str, Any]]:
    """What every attack spent on both sides, in the order of the pool, and on how many images it ran there."""
    alone = {tuple(result.columns): result.cost for result in each.attacks}
    return [
        {
            "attack": ", ".join(result.columns),
            "A, forwards + backwards": f"{cost.forwards} + {cost.backwards}",
            "B, forwards + backwards": f"{result.cost.forwards} + {result.cost.backwards}",
            "B": "; ".join(note for note in result.notes if note.startswith("ran on")) or "-",
        }
        for result in pooled.attacks
        for cost in [alone[tuple(result.columns)]]
    ]


@item(
    "worst_case_pool",
    a=f"{ROW}, one after the other (pool=False; AutoAttack on every image)",
    b=f"the worst case alone over {ROW} (pool=True)",
    limit=1.05,
    at_least=True,
)
def worst_case_pool(bench: Bench) -> Measured:
    # All images that were asked for: what the pool leaves of few ones are small batches, which cost a call each anyway.
    task, data, details = first_images(bench, bench.images)
    row = partial(evaluate, task, data, attacks(), batch_size=bench.batch_size)
    # All pairs that were asked for: what counting predicts is near the limit, and three pairs scatter by more.
    paired = compared(bench, row, partial(row, pool=True), repeats=bench.repeats)
    each, pooled = paired.outputs
    right = torch.stack(list(each.correct.values())).all(0)
    details |= {
        "worst case of A and B, %": [each.worst_case(), pooled.worst_case()],
        "images with the same outcome": float((right == pooled.survivors).double().mean()),
        "note": "A / B is the speed-up; B knows no column but the clean one",
        "spent": costs(each, pooled),
    }
    return Measured(paired, predicted=passes(each) / passes(pooled), details=details)
