"""Devices: those that torch.accelerator has, what one lacks, and generators that are put back."""

from __future__ import annotations

import platform
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from natx.errors import ConfigError
from natx.runtime import device as module
from natx.runtime.device import device_name, forked_rng, has_float64, pick_device, widened


def machine(monkeypatch: pytest.MonkeyPatch, kind: str | None, *, count: int = 1) -> None:
    """A machine with ``count`` accelerators of a kind, or none."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: kind is not None)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device(kind or "cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: count)


@pytest.mark.parametrize("kind", ["cuda", "mps", "xpu"])
def test_the_machines_accelerator_is_accepted_and_the_default(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    machine(monkeypatch, kind, count=2)
    assert pick_device(None) == pick_device(kind) == torch.device(kind)
    assert pick_device(f"{kind}:1") == torch.device(kind, 1)
    assert pick_device("cpu") == torch.device("cpu")


def test_without_an_accelerator_it_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, None)
    assert pick_device(None) == torch.device("cpu")


@pytest.mark.parametrize(
    ("kind", "name", "parts"),
    [
        (None, "mps", ["sees cpu on this machine", "--device cpu"]),
        ("mps", "cuda", ["sees cpu, mps", "--device mps"]),
        ("xpu", "xpu:3", ["this machine has 1 of xpu"]),
        ("cuda", "gpu", ["'gpu'", "cpu, cuda or cuda:N"]),
    ],
)
def test_a_device_that_is_not_there_is_one_line(
    monkeypatch: pytest.MonkeyPatch, kind: str | None, name: str, parts: list[str]
) -> None:
    machine(monkeypatch, kind)
    with pytest.raises(ConfigError) as error:
        pick_device(name)
    assert all(part in str(error.value) for part in parts), error.value


def test_a_device_without_float64_computes_in_float32_and_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As torch's mps: asking for float64 raises TypeError."""
    lines: list[str] = []

    def zeros(*size: int, **settings: Any) -> None:
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64")

    has_float64.cache_clear()
    monkeypatch.setattr(module, "torch", SimpleNamespace(zeros=zeros, float64=torch.float64, float32=torch.float32))
    monkeypatch.setattr(module, "say", lines.append)
    assert [widened(torch.ones(2)).dtype for _ in range(2)] == [torch.float32, torch.float32]
    assert len(lines) == 1 and "no float64" in lines[0]
    has_float64.cache_clear()
    monkeypatch.undo()
    assert widened(torch.ones(2)).dtype == torch.float64
    has_float64.cache_clear()


def test_generators_are_put_back_also_after_an_error() -> None:
    """The accelerator's too: a module as torch's own, with a state that draws move."""
    state = {"mps": torch.tensor([3])}
    fake = SimpleNamespace(get_rng_state=lambda: state["mps"], set_rng_state=lambda value: state.update(mps=value))
    before = torch.get_rng_state()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "get_device_module", lambda device: fake)
        with pytest.raises(KeyError), forked_rng(torch.device("mps"), torch.device("cpu"), torch.device("mps")):
            torch.rand(3)
            state["mps"] = torch.tensor([4])
            raise KeyError
    assert torch.equal(torch.get_rng_state(), before)
    assert state["mps"].item() == 3


def test_a_cpu_is_named_after_the_machine() -> None:
    assert device_name(torch.device("cpu")) == f"{platform.machine()} CPU"
