from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from workshop import Workshop


@pytest.fixture
def shop(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    monkeypatch.setattr(sys, "path", list(sys.path))
    return Workshop(tmp_path, capsys, monkeypatch)
