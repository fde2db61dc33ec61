from __future__ import annotations

import copy
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from natx.adversary import Adversary
from natx.attacks import APGD, FGSM, PGD, Attack, AutoAttack, Square, build_attack
from natx.errors import ConfigError, ConstraintError
from natx.objectives import Adaptive
from natx.task import Task
from natx.testing import LinearTask, TinyCNNTask, TinyDataset, WrappedTask, fit
from natx.threat import L2, Linf

SIZE = 8


@dataclass(frozen=True)
class Case:
    """A row of the attack table.

    ``mild`` breaks some of the images of the trained network and leaves others; ``keyed``: each image is attacked by
    itself, so masks, batch composition and batch norm matter (not so for attacks of a library).
    """

    name: str
    make: Callable[..., Attack]
    keyed: bool = True
    mild: bool = True


LINF, STEP = Linf(16 / 255), 3 / 255
ADVERSARY = Adversary([TinyCNNTask(double=True, seed=7, dropout=0.0)])
TABLE = [
    Case("pgd_ce", lambda **k: PGD(LINF, 6, step_size=STEP, **k)),
    Case("pgd_margin", lambda **k: PGD(LINF, 6, step_size=STEP, objective=dict(type="Margin"), **k)),
    Case("pgd_dlr", lambda **k: PGD(LINF, 6, step_size=STEP, objective=dict(type="DLR"), **k)),
    Case("pgd_kl", lambda **k: PGD(LINF, 6, step_size=STEP, objective=dict(type="KL"), **k)),
    Case("pgd_restarts", lambda **k: PGD(LINF, 4, step_size=STEP, restarts=3, **k)),
    Case("pgd_milestones", lambda **k: PGD(LINF, 6, step_size=STEP, milestones=(1, 4, 6), **k)),
    Case("pgd_no_start", lambda **k: PGD(LINF, 6, step_size=STEP, random_start=False, **k)),
    Case("pgd_adaptive", lambda **k: PGD(LINF, 6, step_size=STEP, objective=Adaptive(ADVERSARY, 0.06), **k)),
    Case("pgd_l2", lambda **k: PGD(L2(0.8), 6, step_size=0.2, **k)),
    Case("pgd_l2_restarts", lambda **k: PGD(L2(0.8), 4, step_size=0.2, restarts=2, **k)),
    Case("fgsm", lambda **k: FGSM(LINF, **k)),
    Case("fgsm_l2", lambda **k: FGSM(L2(0.8), **k)),
    Case("apgd_ce", lambda **k: APGD(LINF, steps=6, **k), keyed=False),
    Case("apgd_dlr", lambda **k: APGD(LINF, steps=6, loss="dlr", **k), keyed=False),
    Case("apgd_targeted", lambda **k: APGD(LINF, steps=6, loss="targeted", **k), keyed=False),
    Case("apgd_l2", lambda **k: APGD(L2(0.8), steps=6, **k), keyed=False),
    Case("square", lambda **k: Square(Linf(40 / 255), queries=40, **k), keyed=False),
    Case("square_l2", lambda **k: Square(L2(2.5), queries=40, **k), keyed=False),
    # Strong enough to break every image early: the full cascade is run once, in its own test below.
    Case("autoattack", lambda **k: AutoAttack(Linf(40 / 255), **k), keyed=False, mild=False),
]
KEYED = [case for case in TABLE if case.keyed]
LIBRARY = [case for case in TABLE if not case.keyed]


def table(cases: list[Case]):
    return pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])


class Probe(nn.Module):
    """Passes logits on and counts the images that go forward and backward; raises after a number of forwards."""

    def __init__(self) -> None:
        super().__init__()
        self.forwards = self.backwards = self.calls = 0
        self.stop_at: int | None = None

    def forward(self, logits: Tensor) -> Tensor:
        self.calls += 1
        if self.calls == self.stop_at:
            raise Interrupt
        return _Count.apply(logits, self)


class _Count(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits: Tensor, probe: Probe) -> Tensor:
        ctx.probe = probe
        probe.forwards += len(logits)
        return logits.clone()

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        ctx.probe.backwards += len(grad)
        return grad, None


class Interrupt(BaseException):
    """Like Ctrl-C: no Exception, so nothing may swallow it."""


class Masked(WrappedTask):
    def perturbable(self, batch: dict) -> Tensor:
        mask = torch.ones(len(batch["index"]), 1, SIZE, SIZE)
        for row, index in enumerate(batch["index"].tolist()):
            mask[row, :, :, SIZE - 1 - index % 3 :] = 0
        return mask


_TRAINED: dict[str, Task] = {}


def trained(double: bool = True) -> TinyCNNTask:
    if not _TRAINED:
        _TRAINED["float32"] = fit(TinyCNNTask(seed=1), TinyDataset(40))
        _TRAINED["float64"] = copy.deepcopy(_TRAINED["float32"]).double()
    return copy.deepcopy(_TRAINED["float64" if double else "float32"])


def images(count: int = 12) -> dict:
    return TinyDataset(60, seed=5).__getitems__(range(0, 5 * count, 5)) if count > 12 else SOME(count)


def SOME(count: int) -> dict:
    return TinyDataset(12, seed=5).__getitems__(range(count))


def probed(task: WrappedTask) -> Probe:
    probe = Probe()
    task.net.append(probe)
    return probe


def length(threat, delta: Tensor) -> Tensor:
    flat = delta.flatten(1)
    return flat.abs().amax(1) if isinstance(threat, Linf) else flat.pow(2).sum(1).sqrt()
