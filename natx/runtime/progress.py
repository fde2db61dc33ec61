"""Progress: a bar with the remaining time on a terminal, plain lines in a log."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from importlib.util import find_spec

from mmengine.dist import get_dist_info
from mmengine.logging import MMLogger
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from natx.errors import ConfigError


def say(message: str) -> None:
    """Log a line, on the first process only."""
    if get_dist_info()[0] == 0:
        MMLogger.get_current_instance().info(message)


def duration(seconds: float) -> str:
    """A duration for people: ``45 s``, ``12 min``, ``3 h 20 min``, ``2 d 5 h``; not-a-number is ``unknown``."""
    if math.isnan(seconds):
        return "unknown"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def amount(number: float, form: str = "g") -> str:
    """A counted number for people; not-a-number is ``unknown``."""
    return "unknown" if math.isnan(number) else format(number, form)


def seconds(text: str | float | None, *, name: str) -> float | None:
    """A duration from a config, ``"10min"``, ``"30s"``, ``"2h"`` or a number of seconds; None for None and 0.

    Raises:
        ConfigError: anything else.
    """
    if text is None or text == 0:
        return None
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|min|h)?\s*", str(text))
    if isinstance(text, bool) or match is None:
        raise ConfigError(f"{name} is a duration such as '10min', '30s' or '2h', or None for never; got {text!r}")
    return float(match[1]) * {"s": 1, "min": 60, "h": 3600}[match[2] or "s"]


class Meter:
    """Shows how far a piece of work is.

    Args:
        console: where to draw; a console that is no terminal gets plain lines through ``line``.
        line: receives a line of text as a piece of work begins and about ten times while it lasts, where there is no
            terminal.
        enabled: False shows nothing (processes other than the first).
    """

    def __init__(self, console: Console, line: Callable[[str], None], *, enabled: bool = True) -> None:
        self.line, self.enabled = line, enabled
        self.bar: Progress | None = None
        if enabled and (console.is_terminal or (console.is_jupyter and find_spec("ipywidgets") is not None)):
            self.bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}", markup=False),
                console=console,
            )
        self.task: TaskID | None = None
        self.started, self.shown = 0.0, 0.0

    def begin(self, description: str, total: int, *, done: int = 0) -> None:
        """Start a piece of work of ``total`` units, ``done`` of which are finished already."""
        self.description, self.total, self.done, self.first = description, total, done, done
        self.started, self.shown = time.monotonic(), done / max(total, 1)
        if self.bar is not None:
            self.bar.start()
            self.task = self.bar.add_task(description, total=total, completed=done, note="")
        elif self.enabled and done < total:  # what takes minutes before its first unit is done has a name until then
            self.line(f"{description}: {done}/{total}")

    def advance(self, count: int = 1, *, note: str = "") -> None:
        """Report ``count`` more units and an optional short note."""
        self.done += count
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, advance=count, note=note)
        elif self.enabled and (self.done / self.total >= self.shown + 0.1 or self.done == self.total):
            self.shown = self.done / self.total
            self.line(
                f"{self.description}: {self.done}/{self.total}, {duration(self.remaining())} left {note}".rstrip()
            )

    def remaining(self) -> float:
        """Estimated seconds until the piece of work is finished."""
        rate = (time.monotonic() - self.started) / max(self.done - self.first, 1)
        return rate * (self.total - self.done)

    def end(self) -> None:
        """Finish the piece of work; the bar disappears."""
        if self.bar is not None and self.task is not None:
            self.bar.remove_task(self.task)
            self.bar.stop()
            self.task = None


def notebook_meter() -> Meter:
    """A meter for Python: a bar on a terminal and in a notebook, nothing in a log or a pipe."""
    console = Console(stderr=True)
    if console.is_jupyter and find_spec("ipywidgets") is None:  # which the bar is drawn with
        return Meter(console, console.print)
    return Meter(console, lambda _: None)


def silent() -> Meter:
    """A meter that shows nothing."""
    return Meter(Console(quiet=True), lambda _: None, enabled=False)
