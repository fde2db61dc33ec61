from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from pretended_device import pretended


@pytest.fixture()
def device() -> Iterator[torch.device]:
    """The pretended device, there for one test."""
    with pretended() as device:
        yield device
