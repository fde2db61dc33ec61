"""What a log says of a piece of work while it lasts."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from natx.cli import console
from natx.runtime.progress import Meter


def test_a_log_names_a_piece_of_work_before_its_first_unit_is_done() -> None:
    """AutoAttack works for minutes on one block of images; the last line then was that of the attack before it."""
    lines: list[str] = []
    meter = Meter(Console(file=io.StringIO()), lines.append)
    meter.begin("AutoAttack", 250)
    assert lines == ["AutoAttack: 0/250"]
    meter.advance(250)
    assert len(lines) == 2 and lines[1].startswith("AutoAttack: 250/250, 0 s left")
    meter.begin("PGD-20", 40, done=40)  # all of it from a run before
    assert len(lines) == 2


def test_brackets_in_names_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    """A folder ``runs [/new]`` ended a judging in a traceback, and ``[new]`` was left out of what was printed."""
    console().print("written: runs [new]/[/old]/report.md, a :warning:")
    assert capsys.readouterr().out.strip() == "written: runs [new]/[/old]/report.md, a :warning:"
    screen = io.StringIO()
    meter = Meter(Console(file=screen, force_terminal=True), lambda _: None)
    meter.begin("PGD on a [new] [/old]", 2)
    meter.advance(2, note="[/x]")
    meter.bar and meter.bar.refresh()
    meter.end()
    assert "[new] [/old]" in screen.getvalue()
