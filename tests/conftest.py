from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pretended_device import FLAG, install
from workshop import Workshop

if os.environ.get(FLAG):
    install()  # before the first backward of the process
# Beside another busy process, a second thread makes small steps many times slower.
torch.set_num_threads(1)


@pytest.fixture
def shop(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    monkeypatch.setattr(sys, "path", list(sys.path))
    return Workshop(tmp_path, capsys, monkeypatch)
