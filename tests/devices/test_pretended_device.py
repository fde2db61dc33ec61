"""The pretended accelerator behaves as a GPU does where tests rely on it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from pretended_device import NAME, SimTensor, counted, pretended
from torch import Tensor, nn
from torch.nn import functional as F


def test_a_training_step_has_the_numbers_of_the_cpu(device: torch.device) -> None:
    losses = []
    for place in (torch.device("cpu"), device):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 10)).to(place)
        x, y = torch.rand(4, 3, 8, 8).to(place).requires_grad_(), torch.tensor([1, 2, 3, 4], device=place)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        for _ in range(3):
            loss = F.cross_entropy(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert x.grad.device.type == place.type
        losses.append(loss.item())
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    "mix",
    [
        lambda x: x + torch.rand(3),
        lambda x: torch.where(torch.tensor([True, False, True]), x, 0.0),
        lambda x: torch.cat([x, torch.rand(3)]),
        lambda x: torch.rand(3).add_(x),
    ],
)
def test_mixing_devices_raises(device: torch.device, mix: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(RuntimeError, match="same device"):
        mix(torch.rand(3).to(device))


def test_numbers_and_indices_from_the_cpu_are_no_mixing(device: torch.device) -> None:
    x = torch.arange(4.0).to(device)
    assert (x + torch.tensor(1.0))[torch.tensor([0, 3])].tolist() == [1.0, 4.0]
    with pytest.raises(TypeError, match="cpu"):
        x.numpy()
    with pytest.raises(TypeError, match="cpu"):
        np.asarray(x)


def test_every_wait_is_counted_where_it_was_asked_for(device: torch.device) -> None:
    x = torch.arange(4.0).to(device)
    waiting: list[Callable[[], object]] = [
        lambda: x.sum().item(),
        lambda: float(x[0]),
        lambda: bool((x > 2).any()),
        lambda: x.cpu(),
        lambda: torch.zeros(4).copy_(x),
        lambda: x.tolist(),
        lambda: (x > 1).nonzero(),
        lambda: x[x > 1],
        lambda: x.clone().index_put_((x > 1,), torch.ones(2).to(device)),
        lambda: torch.equal(x, x),
        lambda: x.unique(),
        lambda: x.masked_select(x > 1),
    ]
    for number, wait in enumerate(waiting):
        with counted() as waits:
            wait()
        assert waits.total == 1, number
        assert waits.under("test_pretended_device.py") == 1, str(waits)


def test_work_that_stays_on_the_device_is_no_wait(device: torch.device) -> None:
    with counted() as waits:
        x = torch.rand(4, 4, device=device) + torch.tensor([1.0, 2.0, 3.0, 4.0], device=device)
        x[x > 1] = 0  # one number fills a mask
        x = torch.where(x > 0, x, -x).clamp(0, 1)[torch.arange(2, device=device)]
        (x.topk(2).values * x.argsort()[:, :2]).sum().isfinite()
    assert waits.total == 0, str(waits)


def test_new_tensors_have_their_size(device: torch.device) -> None:
    made = [torch.arange(3, device=device), torch.linspace(0, 1, 3, device=device), torch.randperm(3, device=device)]
    assert all(x.shape == (3,) and x.device.type == NAME for x in made)
    assert torch.eye(2, device=device).tolist() == [[1.0, 0.0], [0.0, 1.0]]
    x = torch.rand(2).to(device)
    assert x.resize_(3).shape == x.shape == (3,)


def test_it_is_there_inside_only() -> None:
    with pretended():
        assert torch.accelerator.is_available()
        assert torch.accelerator.current_accelerator(check_available=True).type == NAME
        assert isinstance(torch.zeros(2, device=NAME), SimTensor)
    assert not torch.accelerator.is_available()
