"""Free training against the source's loop on plain tensors, and what it costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import interrupted, run, tiny_config
from torch import Tensor, nn
from torch.nn import functional as F

from natx.errors import ConfigError
from natx.methods import FreeTraining
from natx.methods.base import optimised
from natx.registry import METHODS
from natx.testing import TinyCNNTask, WrappedTask
from natx.threat import L2, Linf

EPS = 8 / 255
LINF = {"type": "Linf", "eps": EPS}


class Double(WrappedTask):
    """Pixels in float64; padding where the first colour is exactly 0."""

    def pixels(self, batch: dict[str, Any]) -> Tensor:
        return batch["inputs"].double()

    def perturbable(self, batch: dict[str, Any]) -> Tensor | None:
        return (batch["inputs"][:, :1] != 0).double() if "padded" in batch else None


def network(seed: int = 0) -> nn.Sequential:
    generator = torch.Generator().manual_seed(seed)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 7), nn.Tanh(), nn.Linear(7, 4)).double()
    with torch.no_grad():
        for weight in net.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator, dtype=torch.float64))
    return net


def batches(count: int = 2) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        {
            "inputs": torch.rand(5, 3, 2, 2, generator=generator, dtype=torch.float64).round(decimals=1),
            "data_samples": torch.randint(0, 4, (5,), generator=generator),
            "index": torch.arange(5) + 5 * part,
        }
        for part in range(count)
    ]


@pytest.mark.parametrize("step", [1.0, 0.5])
def test_training_is_the_sources_loop(step: float) -> None:
    ours, theirs, replays = network(), network(), 3
    task, method = Double(ours, 4), FreeTraining(LINF, replays, step=step)
    optimizers = [torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9) for net in (ours, theirs)]
    noise = torch.zeros(5, 3, 2, 2, dtype=torch.float64)
    assert any((batch["inputs"] % 1 == 0).any() for batch in batches())  # some pixels are black or white
    for batch in batches():
        for _ in range(replays):
            optimizers[0].zero_grad()
            total = optimised(method(task, batch, epoch=0))
            total.backward()
            optimizers[0].step()

            moved = batch["inputs"] + noise
            leaf = moved.clamp(0, 1).requires_grad_()
            loss = F.cross_entropy(theirs(leaf), batch["data_samples"])
            optimizers[1].zero_grad()
            loss.backward()
            passes = (moved >= 0) & (moved <= 1)  # a clamp's gradient, at its ends too
            noise = (noise + step * EPS * (leaf.grad * passes).sign()).clamp(-EPS, EPS)
            optimizers[1].step()
            assert torch.allclose(total, loss, atol=1e-6)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_one_forward_and_one_backward_a_step_serve_both(monkeypatch: pytest.MonkeyPatch) -> None:
    net, calls = network(), []
    net.register_forward_hook(lambda *_: calls.append(1))
    monkeypatch.setattr(torch.autograd, "grad", lambda *_: pytest.fail("a backward of its own"))
    task, method, [batch, _] = Double(net, 4), FreeTraining(LINF, 2), batches()
    first = method.make_views(task, batch, epoch=0)[0]
    optimised(method.scalars(task, batch, [first])).backward()
    second = method.make_views(task, batch, epoch=0)[0]
    assert len(calls) == 1 and torch.equal(first.detach(), task.pixels(batch)) and not torch.equal(second, first)
    assert method.cost() == (1, 1) and FreeTraining(LINF, 2, views=("clean", "adv")).cost() == (2, 2)


def test_padding_stays_and_a_new_canvas_or_epoch_begins_at_zero() -> None:
    task, method, [batch, _] = Double(network(), 4), FreeTraining(LINF, 4, views=("clean", "adv")), batches()
    batch = {**batch, "padded": torch.ones(5)}
    batch["inputs"][0] = 0
    for _ in range(3):
        optimised(method(task, batch, epoch=0)).backward()
    clean, adv = method.make_views(task, batch, epoch=0)
    moved = (adv - clean).abs()
    assert moved[0].max() == 0 and 0 < moved.max() <= EPS + 1e-9
    wider = {key: value[:3] if isinstance(value, Tensor) else value for key, value in batch.items()}
    assert torch.equal(*method.make_views(task, wider, epoch=0))
    optimised(method(task, batch, epoch=0)).backward()
    assert torch.equal(*method.make_views(task, batch, epoch=1))


def test_it_stands_inside_weight_perturbation_with_the_nasty_term() -> None:
    nasty = {"type": "NastyKL", "adversary": {"task": {"type": "TinyCNNTask", "num_classes": 5}, "state": "random"}}
    inner = {"type": "FreeTraining", "threat": LINF, "replays": 2, "terms": [{"type": "TaskLoss"}, nasty]}
    method = METHODS.build({"type": "AWP", "method": inner})
    task = TinyCNNTask(num_classes=5)
    batch = {"inputs": torch.rand(4, 3, 8, 8), "data_samples": torch.tensor([0, 1, 2, 3]), "index": torch.arange(4)}
    for _ in range(2):
        optimised(method(task, batch, epoch=0)).backward()
    x_adv = method.make_views(task, batch, epoch=0)[0]
    assert 0 < (x_adv - batch["inputs"]).abs().max() <= EPS + 1e-6


def test_a_run_broken_off_goes_on_as_if_it_had_not_been(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config({"type": "FreeTraining", "threat": LINF, "replays": 2})
    whole = run(config, tmp_path / "whole")
    interrupted(config, tmp_path / "broken", monkeypatch)
    resumed = run(config, tmp_path / "broken", resume=True)
    for name, weight in whole["weights"].items():
        assert torch.equal(weight, resumed["weights"][name]), name


def test_its_state_goes_on_inside_an_epoch() -> None:
    task, [batch, _] = Double(network(), 4), batches()
    first, second = FreeTraining(LINF, 4), FreeTraining(LINF, 4)
    optimised(first(task, batch, epoch=3)).backward()
    second.load_state_dict(first.state_dict())
    assert torch.equal(second.make_views(task, batch, epoch=3)[0], first.make_views(task, batch, epoch=3)[0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FreeTraining(L2(0.5), 2), "FreeTraining works in Linf balls"),
        (lambda: FreeTraining(Linf(EPS), 0), "replays is how many steps"),
        (lambda: FreeTraining(Linf(EPS), 2, step=0.0), "needs step > 0"),
        (lambda: FreeTraining(Linf(EPS), 2, views=("clean",)), "views is"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
