"""natx's AutoPGD beside the authors' Auto-PGD (pyautoattack), step by step from the same starts."""

from __future__ import annotations

import copy
import functools

import pytest
import torch
from torch import Tensor, nn

from natx.attacks import AutoPGD
from natx.attacks.autopgd import AutoStep, checkpoints
from natx.testing import TinyCNNTask, TinyDataset, WrappedTask, fit
from natx.threat import L2, Linf, ThreatModel

base = pytest.importorskip("pyautoattack.autopgd_base")
STEPS, IMAGES = 100, 24
FIRST, THIRD = 22, 57  # looks back of 100 steps
THREATS = [Linf(8 / 255), L2(0.4)]


class Recorder(nn.Module):
    """A network that keeps the pixels at which it is asked for a gradient."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.points = net, []

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            self.points.append(x.detach().clone())
        return self.net(x)


@functools.cache
def _trained() -> TinyCNNTask:
    return fit(TinyCNNTask(seed=1, width=4), TinyDataset(40)).eval()


def setting(threat: ThreatModel) -> tuple[nn.Module, dict[str, Tensor]]:
    """The network from pixels to logits, and images with a start for each, well inside the ball."""
    task = copy.deepcopy(_trained())
    batch = TinyDataset(IMAGES, seed=5, noise=0.2).__getitems__(range(IMAGES))
    noise = torch.randn(batch["inputs"].shape, generator=torch.Generator().manual_seed(2))
    if isinstance(threat, Linf):
        delta = 0.9 * threat.eps * noise.sign()
    else:
        delta = 0.9 * threat.eps * noise / noise.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    batch["start"] = (batch["inputs"] + delta).clamp(0, 1)
    return task.net, batch


def normalised(net: nn.Module) -> Recorder:
    """The task's network with its normalisation in front."""

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> Tensor:
            return self.net((x - _trained().mean) / _trained().std)

    return Recorder(Whole().eval())


@functools.cache
def both(threat: ThreatModel) -> tuple[Tensor, ...]:
    """Of natx and the library: iterates ``[STEPS, N, C, H, W]``, losses at the best points ``[N]``, who is broken."""
    net, batch = setting(threat)
    x, y = batch["inputs"], batch["data_samples"]
    ours, theirs = normalised(net), normalised(net)
    found = AutoPGD(threat, STEPS)(WrappedTask(ours, 5, mean=0.0, std=1.0), batch)
    library = base.APGDAttack(theirs, n_iter=STEPS, norm=type(threat).__name__, eps=threat.eps, loss="ce", device="cpu")
    library.init_hyperparam(x)
    best = library.attack_single_run(x, y, x_init=batch["start"])[0].detach()
    with torch.no_grad():
        logits = [ours(point) for point in (found, best)]
    losses = [nn.functional.cross_entropy(z, y, reduction="none") for z in logits]
    iterates = [torch.stack(recorder.points[:STEPS]) for recorder in (ours, theirs)]  # the library looks once more
    return *iterates, *losses, *(z.argmax(1) != y for z in logits)


def test_the_settings_are_the_librarys() -> None:
    library = base.APGDAttack(None, n_iter=STEPS, eps=0.1)
    at, length, found = 0, library.n_iter_2, []
    while at + length <= STEPS:
        at += length
        found.append(at)
        length = max(length - library.size_decr, library.n_iter_min)
    assert checkpoints(STEPS) == found == [FIRST, 41, THIRD, 70, 80, 87, 93, 99]
    assert AutoStep.RISING == library.thr_decr == 0.75 and AutoStep.NEW == 0.75


def test_a_step_size_is_halved_by_the_papers_conditions() -> None:
    """Fewer than three of four steps that rise, or no new best point; each at its end, for four images."""
    x, step = torch.full((4, 1, 1, 1), 0.5), AutoStep(0.1, steps=STEPS)
    step.at = {4, 8}
    before = [(0, 0, 0, 0), (1, 1, 1, 1), (2, 2, 2, 2), (3, 1.5, 3, 1.5), (2.5, 1, 4, 1)]
    # The first finds no new best point. The second does not either, but has just been halved, and gone back to 2: three
    # steps rise. The third and the last rise twice.
    after = [(2.9, 1.1, 4, 1.1), (2.8, 1.2, 3, 1.2), (2.9, 1.3, 3.5, 0.9), (2.95, 1.4, 4.5, 1.4)]
    for scores, sizes in ((before, [0.1, 0.05, 0.1, 0.05]), (after, [0.05, 0.05, 0.05, 0.025])):
        for row in scores:
            step(Linf(0.4).around(x), x, torch.ones_like(x), torch.tensor(row))
        torch.testing.assert_close(step.sizes, torch.tensor(sizes))


@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_iterates_are_the_librarys(threat: ThreatModel) -> None:
    """The library counts rises from another point after a step back, so a few images may part from it late.

    A few part from it earlier where a kernel rounds a comparison of two nearly equal scores the other way.
    """
    ours, theirs, *_ = both(threat)
    same = (ours - theirs).flatten(2).abs().amax(2) < 1e-4  # [STEPS, N]
    assert len(ours) == len(theirs) == STEPS
    assert same[: FIRST + 1].all()
    assert int(same[: THIRD + 1].all(0).sum()) >= 0.9 * IMAGES
    assert int(same.all(0).sum()) >= 0.7 * IMAGES
    moves = (ours[1:] - ours[:-1]).flatten(2).norm(dim=2)
    halved = moves[THIRD - 1] < 0.7 * moves[1 : FIRST - 1].mean(0)
    assert int(halved.sum()) >= IMAGES / 2  # most images had to decide before that


@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_the_best_points_are_as_good_as_the_librarys(threat: ThreatModel) -> None:
    *_, ours, theirs, broken, other = both(threat)
    assert float((ours - theirs).abs().max()) < 0.02 < float(theirs.std())
    assert torch.equal(broken, other) and 2 < int(broken.sum()) < IMAGES - 2
