"""The names of natx that the running text of README.md and docs/ gives in code exist, and those to be called are there.

After ``import natx`` a reader has what :data:`natx.__all__` names; whatever else he is to call, its page says how to
import it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from pkgutil import resolve_name

import pytest
from listings import BLOCK, PAGES

import natx

CODE = re.compile(r"`([^`]+)`")
NAME = re.compile(r"\bnatx((?:\.[A-Za-z_]\w*)+)(\(?)")
SENTENCE = re.compile(r"(?<=[.:])\s+(?=[A-Z])")


def names(text: str) -> Iterator[tuple[str, bool]]:
    """Dotted names in a page's inline code, and whether a reader is to call them."""
    for sentence in SENTENCE.split(" ".join(BLOCK.sub("", text).split())):
        for code in CODE.findall(sentence):
            statement = code.startswith(("import ", "from "))
            for dotted, bracket in NAME.findall(code):
                yield f"natx{dotted}", not statement and (bool(bracket) or sentence.startswith("From Python"))


def missing(text: str) -> list[str]:
    """What is wrong with the names of a page."""
    faults, line = [], " ".join(text.split())
    for name, called in names(text):
        try:
            resolve_name(name)
        except (ImportError, AttributeError):
            faults.append(f"{name} does not exist")
            continue
        module, _, last = name.rpartition(".")
        there = re.escape(module)
        imported = re.search(rf"\bimport {there}\b|\bfrom {there} import [\w, ]*\b{last}\b", line)
        if called and name.split(".")[1] not in natx.__all__ and not imported:
            faults.append(f"{name} is not there after `import natx`, and the page imports it nowhere")
    return faults


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_in_the_text(page: Path) -> None:
    assert missing(page.read_text()) == []


def test_what_a_page_may_say() -> None:
    assert missing("`natx.evaluate(model, x, y)` and the package `natx.checks`. From Python: `natx.evaluate`.") == []
    assert missing("`import natx.checks` first. From Python: `natx.checks.audit`.") == []
    assert "does not exist" in missing("`natx.checks.nothing`")[0]
    assert "imports it nowhere" in missing("It is so. From Python: `natx.checks.audit`.")[0]
    assert "imports it nowhere" in missing('`natx.evaluation.saved.read_saved("adv")` joins them.')[0]
