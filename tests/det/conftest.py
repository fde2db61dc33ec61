from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "train"))  # the workshop of the training tests

from workshop import Workshop  # noqa: E402


@pytest.fixture
def shop(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    monkeypatch.setattr(sys, "path", list(sys.path))
    return Workshop(tmp_path, capsys, monkeypatch)
