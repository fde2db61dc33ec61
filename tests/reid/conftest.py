from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import street


@pytest.fixture(scope="session")
def draw_street() -> Callable[..., Path]:
    return street.draw_street
