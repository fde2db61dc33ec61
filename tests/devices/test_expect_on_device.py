"""Conditions that are raised together wait for the device once."""

from __future__ import annotations

import torch
from pretended_device import counted

from natx.errors import DataError
from natx.expect import expect, together


def broken(*figures: float) -> DataError:
    return DataError(f"got {figures}")


def test_a_block_waits_once_for_the_device(device: torch.device) -> None:
    with counted() as waits:
        x = torch.rand(3, 4).to(device)
        with together():
            for row in x:
                expect((row >= 0).all(), broken, row.min())
            assert waits.total == 0
        assert waits.total == 1
