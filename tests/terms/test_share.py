"""The nasty term's share of the gradient on the class logits: measured against closed forms, told, and held."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import run, tiny_config
from torch import Tensor
from torch.nn import functional as F

from natx.errors import ConfigError
from natx.models.adversary import Adversary
from natx.task import Output, Task
from natx.terms import NastyKL, View
from natx.terms.share import EpochMean, ShareController, gradient_ratio
from natx.testing import TinyCNNTask

ROWS = 12


class Known(Adversary):
    """An adversary whose logits are given."""

    def __init__(self, logits: Tensor) -> None:
        self.given = logits
        self.tasks, self.origin = [None], "given"

    def logits(self, batch: Any, x: Tensor, **_: Any) -> Tensor:
        return self.given


class Fitting(Known):
    """One that fits every task."""

    def check(self, task: Task) -> None: ...

    def to(self, device: Any) -> None: ...


class Smoothed(TinyCNNTask):
    """A task that says how its labels are smoothed."""

    def __init__(self, num_classes: int, smoothing: float = 0.1) -> None:
        super().__init__(num_classes)
        self.label_smoothing = smoothing


def draw(classes: int, *, seed: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(ROWS, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def view(logits: Tensor, labels: Tensor, *, smoothing: float = 0.0, link: str = "softmax") -> View:
    """The view 'adv' of a classifier."""
    loss = F.cross_entropy(logits, labels, label_smoothing=smoothing)
    weight = torch.full((ROWS,), 1 / ROWS, dtype=torch.float64)
    output = Output({"loss_ce": loss}, logits, labels, torch.arange(ROWS), weight, ROWS, link=link)
    return View("adv", torch.zeros(ROWS, 3, 1, 1), output)


def labels(classes: int) -> Tensor:
    return torch.randint(0, classes, (ROWS,), generator=torch.Generator().manual_seed(2))


def closed_form(z: Tensor, a: Tensor, y: Tensor, *, tau: float, smoothing: float) -> Tensor:
    """The median over rows of the norms' ratio, from the formulas of the two gradients."""
    p, q = (z / tau).softmax(1), (a / tau).softmax(1)
    log_ratio = p.log() - q.log()
    nasty = p * (log_ratio - (p * log_ratio).sum(1, keepdim=True)) / tau
    wanted = F.one_hot(y, z.shape[1]) * (1 - smoothing) + smoothing / z.shape[1]
    return (nasty.norm(dim=1) / (z.softmax(1) - wanted).norm(dim=1)).median()


@pytest.mark.parametrize("classes", [10, 100, 751])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("tau", [4.0, 20.0])
def test_the_share_is_the_ratio_of_the_two_gradients(classes: int, smoothing: float, tau: float) -> None:
    z, a, y = draw(classes, seed=0, scale=3.0), draw(classes, seed=1, scale=3.0), labels(classes)
    term = NastyKL(Fitting(a), 0.05, temperature=tau)
    term.prepare(Smoothed(num_classes=classes, smoothing=smoothing), torch.device("cpu"))
    scalars = term([view(z.requires_grad_(), y, smoothing=smoothing)], {})
    expected = 0.05 * tau**2 * closed_form(z.detach(), a, y, tau=tau, smoothing=smoothing)
    assert float(scalars["nasty_share"]) == pytest.approx(float(expected), rel=1e-6)
    assert scalars["loss_nasty"].requires_grad and not scalars["nasty_share"].requires_grad


@pytest.mark.parametrize("above", [3, 9])
def test_rows_at_the_cap_have_no_share(above: int) -> None:
    """The cap holds their divergence still: of 12 rows, the median is 0 where more than half are there."""
    z, a, y = draw(10, seed=0, scale=3.0), draw(10, seed=1, scale=3.0), labels(10)
    p, q = (z / 4).softmax(1), (a / 4).softmax(1)
    divergence = (p * (p.log() - q.log())).sum(1)
    order = divergence.argsort()
    cap = float(divergence[order[ROWS - above - 1 :][:2]].mean())  # between two rows
    shares = []
    for settings in ({}, {"cap": cap}):
        term = NastyKL(Fitting(a), 0.05, temperature=4.0, **settings)
        shares.append(float(term([view(z.clone().requires_grad_(), y)], {})["nasty_share"]))
    pull = (p * (p.log() - q.log() - divergence[:, None]) / 4).norm(dim=1) * (divergence < cap)
    expected = 0.05 * 16 * (pull / (z.softmax(1) - F.one_hot(y, 10)).norm(dim=1)).median()
    assert shares[1] == pytest.approx(float(expected), rel=1e-6) and shares[1] < shares[0]
    assert (shares[1] == 0) == (above == 9)


@pytest.mark.parametrize("link", ["softmax", "sigmoid"])
def test_heads_of_both_links_are_held_against_cross_entropy(link: str) -> None:
    z, y = draw(5, seed=0).requires_grad_(), labels(5)
    ratio = gradient_ratio(torch.full((ROWS, 5), 0.1 / ROWS), view(z, y, link=link).output)
    p = z.detach().softmax(1) if link == "softmax" else z.detach().sigmoid()
    expected = 0.1 * 5**0.5 / (p - F.one_hot(y, 5)).norm(dim=1)
    torch.testing.assert_close(ratio.double(), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("classes", [10, 100, 751])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_share_is_held_whatever_the_classes_and_the_smoothing(classes: int, smoothing: float) -> None:
    """Free logits descend both terms; what weight 0.01 at 20 comes to differs by far, the share does not."""
    y, a = labels(classes), draw(classes, seed=1, scale=3.0)
    z = draw(classes, seed=0).requires_grad_()
    term, optimiser = NastyKL(Fitting(a), temperature=20.0, share=0.1), torch.optim.Adam([z], lr=0.05)
    term.prepare(Smoothed(classes, smoothing), torch.device("cpu"))
    shares = []
    for _ in range(200):
        seen = view(z, y, smoothing=smoothing)
        scalars = term([seen], {})
        optimiser.zero_grad()
        (seen.output.losses["loss_ce"] + scalars["loss_nasty"]).backward()
        optimiser.step()
        shares.append(float(scalars["nasty_share"]))
    assert 0.08 < sum(shares[20:40]) / 20 < 0.14 and 0.09 < sum(shares[-50:]) / 50 < 0.11
    assert term.remarks() == [] and float(scalars["nasty_weight"]) > 0


def test_the_first_weight_is_right_and_later_ones_follow_slowly_within_the_bound() -> None:
    controller = ShareController(0.1, largest=5.0, rate=0.5)
    assert float(controller(torch.tensor(0.2))) == pytest.approx(0.5)
    half_way = (0.2 * 0.05) ** 0.5  # in the logarithm
    assert float(controller(torch.tensor(0.05))) == pytest.approx(0.1 / half_way)
    for _ in range(40):
        weight = controller(torch.tensor(1e-6))
    assert float(weight) == 5.0
    for useless in (0.0, float("nan"), float("inf")):
        assert float(controller(torch.tensor(useless))) == 5.0
    assert float(ShareController(0.1)(torch.tensor(0.0))) == 0.0  # nothing known yet


@pytest.mark.parametrize("growth", [1.01, 0.99, 1.03])
def test_a_ratio_that_grows_steadily_is_followed_with_the_lag_of_its_memory(growth: float) -> None:
    """The mean of a logarithm that rises by log g a step lies behind it by (1 - rate) / rate steps."""
    controller = ShareController(0.1)
    units = [1e-4 * growth**step for step in range(200)]
    shares = [unit * float(controller(torch.tensor(unit))) for unit in units]
    assert shares[-1] == pytest.approx(0.1 * growth ** (1 / controller.rate - 1), rel=1e-3)
    assert all(0.085 < share < 0.115 for share in shares)


def test_a_bound_that_binds_is_told_and_says_what_was_reached() -> None:
    term = NastyKL(Fitting(draw(10, seed=1)), share=0.1, largest=1.0)
    term.prepare(Smoothed(10), torch.device("cpu"))
    scalars = [term([view(draw(10, seed=seed).requires_grad_(), labels(10))], {}) for seed in (0, 3, 4)]
    assert all(float(values["nasty_weight"]) == 1.0 and float(values["nasty_share"]) < 0.1 for values in scalars)
    [line] = term.remarks()
    mean = 100 * sum(float(values["nasty_share"]) for values in scalars) / 3
    assert "does not reach share=0.1: its effective weight stood at its bound, largest=1, and" in line
    assert f"{mean:.2g} % of the task's" in line and "raise largest" in line and term.remarks() == []


def test_each_epoch_has_a_mean_of_its_own() -> None:
    meter = EpochMean()
    for values in ([1.0, 3.0], [10.0], [0.5, 0.25, 0.75]):
        for value in values:
            meter.add(torch.tensor(value))
        assert meter.take() == pytest.approx(sum(values) / len(values))
    assert meter.take() is None


def test_its_state_is_part_of_a_run() -> None:
    first, second = NastyKL(Known(draw(4, seed=1)), share=0.2), NastyKL(Known(draw(4, seed=1)), share=0.2)
    first([view(draw(4, seed=0).requires_grad_(), labels(4))], {})
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.controller.log_unit, second.controller.log_unit) and first.controller.log_unit.isfinite()
    assert NastyKL(Known(draw(4, seed=1))).state_dict() == {}


def test_a_weight_that_does_nothing_is_told_once_with_its_reasons() -> None:
    term = NastyKL(Fitting(draw(751, seed=1)), 1e-4, temperature=20.0)
    term.prepare(Smoothed(num_classes=751), torch.device("cpu"))
    assert term.remarks() == []  # no step yet
    term([view(draw(751, seed=0).requires_grad_(), labels(751), smoothing=0.1)], {})
    [line] = term.remarks()
    assert "NastyKL does nothing" in line and "label smoothing 0.1, classes 751, temperature 20" in line
    assert "give share=0.1" in line and term.remarks() == []
    strong = NastyKL(Known(draw(10, seed=1)), 10.0)
    strong([view(draw(10, seed=0).requires_grad_(), labels(10))], {})
    assert strong.remarks() == []


def test_nothing_is_measured_where_nothing_is_learned() -> None:
    with torch.no_grad():
        scalars = NastyKL(Known(draw(10, seed=1)))([view(draw(10, seed=0), labels(10))], {})
    assert "nasty_share" not in scalars


def test_a_training_logs_the_share_and_warns(tmp_path: Path) -> None:
    adversary = {"task": {"type": "TinyCNNTask", "num_classes": 5, "seed": 9}, "state": "random"}
    attack = {"type": "PGD", "threat": {"type": "Linf", "eps": 8 / 255}, "steps": 1}
    terms = [{"type": "TaskLoss"}, {"type": "NastyKL", "adversary": adversary, "weight": 1e-6}]
    run(tiny_config({"type": "Adversarial", "attack": attack, "terms": terms}), tmp_path / "weak")
    log = next((tmp_path / "weak").glob("*/*.log")).read_text()
    assert log.count("NastyKL does nothing") == 3 and "nasty_share" in log
    terms[1] = {"type": "NastyKL", "adversary": adversary, "share": 0.1}
    gentle = {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.01}}
    run(tiny_config({"type": "Adversarial", "attack": attack, "terms": terms}, optim_wrapper=gentle), tmp_path / "held")
    log = next((tmp_path / "held").glob("*/*.log")).read_text()
    assert "NastyKL does" not in log
    for share in re.findall(r"nasty_share: ([\d.]+)", log)[1:]:
        assert 0.08 < float(share) < 0.125


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ShareController(0.0), "a share is above 0"),
        (lambda: ShareController(0.1, largest=0.0), "its largest weight too"),
        (lambda: NastyKL(Known(draw(4, seed=1)), share=-0.1), "a share is above 0"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
