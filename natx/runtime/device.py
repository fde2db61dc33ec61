"""Devices: one that torch cannot use is one line."""

from __future__ import annotations

import torch

from natx.errors import ConfigError


def usable_device(name: torch.device | str) -> torch.device:
    """The device of a name; raises ConfigError where torch does not know it or this machine does not have it."""
    try:
        device = torch.device(name)
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"device {str(name)!r} cannot be used: {reason}") from error
