"""Installed packages say that they have types (PEP 561), so that checkers of programs which use natx read them."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("package", ["natx", "natx_bench", "tasks"])
def test_the_marker_of_types_is_shipped(package: str) -> None:
    settings = tomllib.loads((REPO / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert (REPO / package / "py.typed").is_file()
    assert "py.typed" in settings["package-data"][package]
