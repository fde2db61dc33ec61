"""The only module that imports pyautoattack: the official AutoAttack code (the one RobustBench uses), made harmless.

pyautoattack seeds every global generator, installs a trace function, keeps a module-level counter and reports through
a logger. Everything it touches is put back, and its flags come out as text.
"""

from __future__ import annotations

import logging
import random
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from itertools import count

import numpy as np
import pyautoattack
import torch
from pyautoattack import checks
from torch import Tensor

from natx.attacks.parts import Part
from natx.attacks.remarks import SQUARE
from natx.attacks.victim import Cost, Victim
from natx.errors import UnsupportedError
from natx.runtime.device import forked_rng
from natx.task import Task
from natx.threat import ThreatModel

Perturb = Callable[[Tensor, Tensor], Tensor]  # a member, from pixels and labels
VERSION = f"pyautoattack {version('pyautoattack')}"


class _Collector(logging.Handler):
    """Keeps the library's warnings (its flags) as plain lines."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(" ".join(record.getMessage().split()))


@contextmanager
def contained(device: torch.device) -> Iterator[_Collector]:
    """Run library code that seeds globally and traces; yields the collector of its warnings."""
    logger, collector, trace = logging.getLogger("auto-attack"), _Collector(), sys.gettrace()
    numpy_state, python_state, propagate = np.random.get_state(), random.getstate(), logger.propagate
    logger.addHandler(collector)
    logger.propagate = False
    try:
        with forked_rng(device):
            yield collector
    finally:
        logger.removeHandler(collector)
        logger.propagate = propagate
        for name in checks.funcs:
            checks.funcs[name] = 0
        np.random.set_state(numpy_state)
        random.setstate(python_state)
        sys.settrace(trace)


def _set_iterations(apgd: pyautoattack.autopgd_base.APGDAttack, iterations: int) -> None:
    """Change APGD's length together with the checkpoints that its constructor derives from it."""
    apgd.n_iter = apgd.n_iter_orig = iterations
    apgd.n_iter_2 = max(int(0.22 * iterations), 1)
    apgd.n_iter_min = max(int(0.06 * iterations), 1)
    apgd.size_decr = max(int(0.03 * iterations), 1)


def _counted(line: str, images: int) -> str:
    """A flag of the library; that of Square, a share of the images of one call, as their number."""
    share = re.match(r"Square Attack has decreased the robust accuracy of ([\d.]+)%", line)
    return line if share is None else f"{SQUARE}{round(float(share[1]) / 100 * images)}"


def _kept(
    victim: Victim,
    numbers: Iterator[int],
    collector: _Collector,
    perturb: Perturb,
    x: Tensor,
    y: Tensor,
) -> Tensor:
    """A member's images: computed and kept, or those that were kept. Each member seeds itself, so it needs no other."""
    number = next(numbers)
    if victim.parts is None:
        return perturb(x, y)
    stored = victim.parts.stored(number, x)
    if stored is not None:
        victim.cost += Cost(stored.forwards, stored.backwards)
        victim.tally.some(stored.at_least.to(x.device))
        collector.lines += stored.flags
        return stored.x_adv.to(x)
    begun, said = time.monotonic(), len(collector.lines)
    forwards, backwards = victim.cost.forwards, victim.cost.backwards
    x_adv = perturb(x, y)
    part = Part(
        x_adv,
        victim.cost.forwards - forwards,
        victim.cost.backwards - backwards,
        victim.tally.at_least,
        collector.lines[said:],
        time.monotonic() - begun,
    )
    victim.parts.add(number, x, part)
    return x_adv


def check_square(height: int, width: int) -> None:
    """Raise UnsupportedError where the library's Square, under L2, fails on images of a size.

    It begins with tiles of ``height // 5`` pixels, laid out from the same margin in both directions; where the last one
    sticks out of the image, it stops with an error about shapes.
    """
    side = height // 5
    margin = (height - 5 * side) // 2
    inside = side > 0 and all(margin + (length // side) * side <= length for length in (height, width))
    if not (inside or side == 1):
        raise UnsupportedError(
            f"Square under L2, which AutoAttack ends with, fails on images of {height} x {width} pixels ({VERSION}): "
            "use Linf, or attack with APGD under L2"
        )


def _squares(threat: ThreatModel, members: list[str] | None) -> bool:
    return threat.norm == "L2" and (members is None or "square" in members)


def _targeted(members: list[str] | None) -> bool:
    return members is None or not {"apgd-t", "fab-t"}.isdisjoint(members)


def refuse_unsupported(task: Task, threat: ThreatModel, members: list[str] | None) -> None:
    """Raise UnsupportedError, with what to use instead, where members of the library cannot attack a task.

    That is: no class per image, pixels that must not change, a norm that the library does not know, too few classes for
    a loss (4 for targeted DLR, 3 for DLR), or images that Square cannot begin on.
    """
    whole, classes = "AutoAttack's members (APGD, FAB, Square)", task.num_classes
    if not task.per_image_success:
        raise UnsupportedError(
            f"{whole} attack the class of a whole image, which a {type(task).__name__} does not give: attack it with "
            "PGD on an objective of its own"
        )
    if type(task).perturbable is not Task.perturbable:
        raise UnsupportedError(
            f"{whole} perturb whole images, and a {type(task).__name__} may have pixels that must not change: use "
            "AutoPGD on CrossEntropy, Margin or DLR"
        )
    if threat.norm not in ("Linf", "L2"):
        raise UnsupportedError(
            f"{whole} run under Linf and L2; got {threat}: use {threat.attack}, which asks the threat model alone"
        )
    if classes < 4 and _targeted(members):
        raise UnsupportedError(
            f"AutoAttack's targeted losses need at least 4 classes; got {classes}: use APGD with loss='ce', AutoPGD on "
            "Margin, and Square"
        )
    if classes < 3 and "apgd-dlr" in (members or ()):
        raise UnsupportedError(f"the DLR loss needs at least 3 classes; got {classes}: use AutoPGD on Margin")
    if task.input_size is not None and _squares(threat, members):
        check_square(*task.input_size[1:])


def run_members(
    victim: Victim,
    members: list[str] | None,
    *,
    seed: int,
    batch_size: int,
    queries: int = 5000,
    iterations: int = 100,
) -> tuple[Tensor, list[str]]:
    """Run AutoAttack's standard version (``members=None``) or some of its members on the victim's images.

    With fewer than ten classes the targeted members attack all C-1 other classes instead of nine.

    Args:
        victim: the attacked task with one class per image.
        members: names as in the library ('apgd-ce', 'apgd-dlr', 'apgd-t', 'fab-t', 'square').
        seed: seed of every member.
        batch_size: images per call inside the library.
        queries: Square's budget.
        iterations: APGD's iterations.

    Returns:
        Adversarial pixels ``[N, C, H, W]`` and the library's flags.

    Raises:
        UnsupportedError: images that Square cannot begin on, of a task that has not told their size before.
    """
    classes, device = victim.task.num_classes, victim.x.device
    if _squares(victim.ball.threat, members):
        check_square(*victim.x.shape[-2:])
    labels = victim.batch["data_samples"].to(device)
    numbers = count()
    with contained(device) as collector, torch.enable_grad():
        adversary = pyautoattack.AutoAttack(
            victim.logits,
            attacks=members,
            device=device,
            eps=victim.ball.threat.radius,
            norm=victim.ball.threat.norm,
            seed=seed,
            version="standard" if members is None else "custom",
        )
        targets = min(9, classes - 1)
        adversary.apgd.n_restarts = 1
        adversary.apgd_targeted.n_target_classes = adversary.fab.n_target_classes = targets
        if members is not None:
            adversary.square.n_queries = queries
            for apgd in (adversary.apgd, adversary.apgd_targeted):
                _set_iterations(apgd, iterations)
        for member in (adversary.apgd, adversary.apgd_targeted, adversary.fab, adversary.square):
            member.perturb = partial(_kept, victim, numbers, collector, member.perturb)
        x = victim.x.detach().float().contiguous()  # the library's precision
        x_adv, _ = adversary.run_standard_evaluation(x, labels, batch_size=batch_size)
    notes = list(dict.fromkeys(_counted(line, len(x)) for line in collector.lines))
    if targets < 9 and _targeted(members):
        notes.append(f"{classes} classes: targeted members use {targets} targets instead of 9")
    return x_adv.detach().to(victim.x.dtype), notes
