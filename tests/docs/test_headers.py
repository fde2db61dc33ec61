"""Hours and results in the heads of configs are those of results/."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def headers() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "docs" / "_site" / "headers.py"))


def test_the_heads_of_the_fast_recipes_are_current(headers: dict[str, Any]) -> None:
    lines = headers["measured_lines"]()
    recipes = {f"{model}_cifar10_fast_{method}" for model in ("r18", "r20", "wrn28_10") for method in ("at", "nat")}
    assert recipes | {"vit_s_in100_fast_nat", "r50_in100_fast_nat"} <= set(lines)
    for name, sentences in lines.items():
        text = (ROOT / "configs" / "cls" / f"{name}.py").read_text()
        assert headers["filled"](text, sentences) == text, f"{name}: run python docs/_site/headers.py"


def test_lines_are_put_before_the_papers_number_and_replaced(headers: dict[str, Any]) -> None:
    once = headers["filled"]("# A.\n# Cost: 3.\n# Paper's number: none.\nx = 1\n", ["2 hours.", "70 %."])
    assert once == "# A.\n# Cost: 3.\n# Measured: 2 hours.\n# Measured: 70 %.\n# Paper's number: none.\nx = 1\n"
    assert headers["filled"](once, ["3 hours."]) == (
        "# A.\n# Cost: 3.\n# Measured: 3 hours.\n# Paper's number: none.\nx = 1\n"
    )
    wide = headers["filled"](once, ["word " * 30])
    assert max(map(len, wide.splitlines())) <= 120 and wide.count("word") == 30
    assert headers["filled"](wide, ["2 hours.", "70 %."]) == once


def test_a_row_that_has_not_run_says_nothing(headers: dict[str, Any]) -> None:
    page = (
        "| | seeds | Clean | AA |\n|---|---|\n"
        "| N-FGSM (union) | 2 | 70.00 | 28.00 |\n| NAT 0.06 | 0 | not run | not run |\n"
    )
    assert list(headers["_reached"](page)) == [
        ("r20_cifar10_fast_union", "Clean 70.00, AA 28.00 % after 8 epochs, 2 seeds (results/cifar10_full.md).")
    ]


@pytest.mark.parametrize(("hours", "text"), [(0.0317, "0.032"), (6.386, "6.4"), (30.046, "30"), (130.77, "130")])
def test_hours_have_two_digits(headers: dict[str, Any], hours: float, text: str) -> None:
    assert headers["_two_digits"](hours) == text
