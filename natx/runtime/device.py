"""Devices by ``torch.accelerator``: whatever torch has on this machine (cuda, mps, xpu, ...), and what each lacks."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor

from natx.errors import ConfigError
from natx.runtime.progress import say


def pick_device(name: torch.device | str | None) -> torch.device:
    """The device of a name; for None the machine's accelerator, or the CPU where there is none.

    Raises:
        ConfigError: torch knows no such device, or this machine does not have it.
    """
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if name is None:
        return accelerator or torch.device("cpu")
    kinds = "cpu" if accelerator is None else f"cpu, {accelerator.type} or {accelerator.type}:N"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"no device {str(name)!r}: on this machine it is {kinds}") from error
    if device.type == "cpu":
        return device
    if accelerator is None or device.type != accelerator.type:
        raise ConfigError(
            f"no device {str(name)!r}: torch {torch.__version__} sees {kinds} on this machine; use --device "
            f"{'cpu' if accelerator is None else accelerator.type}"
        )
    if (device.index or 0) >= (count := torch.accelerator.device_count()):
        raise ConfigError(f"no device {str(name)!r}: this machine has {count} of {device.type}, counted from 0")
    return device


def device_name(device: torch.device) -> str:
    """A device for people: a GPU's model, or the processor's architecture and ``CPU``."""
    if device.type == "cpu":
        return f"{platform.machine()} CPU"
    named = getattr(torch.get_device_module(device), "get_device_name", None)
    return f"{platform.machine()} {device.type}" if named is None else named(device)


@cache
def has_float64(kind: str) -> bool:
    """Whether devices of a type compute in float64 (Apple's do not); where not, a line in the log says so once."""
    try:
        torch.zeros(1, dtype=torch.float64, device=kind)
    except (TypeError, RuntimeError):
        say(f"{kind} has no float64: what is computed there in float64 elsewhere is computed in float32")
        return False
    return True


def widest(device: torch.device) -> torch.dtype:
    """float64, or float32 where the device has no float64."""
    return torch.float64 if has_float64(device.type) else torch.float32


def widened(tensor: Tensor) -> Tensor:
    """The tensor in the widest floating type of its device, see :func:`widest`."""
    return tensor.to(widest(tensor.device))


@contextmanager
def forked_rng(*devices: torch.device) -> Iterator[None]:
    """Put torch's generators, the CPU's and those of the devices, back on exit to where they were."""
    accelerators = sorted({device for device in devices if device.type != "cpu"}, key=str)
    with torch.random.fork_rng(devices=[]):
        states = [(device, generator_state(device)) for device in accelerators]
        try:
            yield
        finally:
            for device, state in states:
                set_generator_state(device, state)


def generator_state(device: torch.device) -> Tensor:
    """The state of a device's generator."""
    module = torch.get_device_module(device)
    return module.get_rng_state() if device.type == "mps" else module.get_rng_state(device)  # mps has one device


def set_generator_state(device: torch.device, state: Tensor) -> None:
    """Set what :func:`generator_state` gave."""
    module = torch.get_device_module(device)
    if device.type == "mps":
        module.set_rng_state(state)
    else:
        module.set_rng_state(state, device)
