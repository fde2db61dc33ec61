"""What two configs have in common that train the same weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from natx.config import fingerprint


@pytest.mark.parametrize("kind", [str, Path])
def test_a_checkpoint_counts_by_its_content(tmp_path: Path, kind: type) -> None:
    files = [tmp_path / name for name in ("a.pth", "b.pth")]
    for file in files:
        file.write_bytes(b"weights")
    here, there = ({"start": {"checkpoint": kind(file)}} for file in files)
    assert fingerprint(here) == fingerprint(there)
    files[1].write_bytes(b"others")
    assert fingerprint(here) != fingerprint(there)
