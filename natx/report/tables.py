"""Tables of text, for Markdown and for pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["", "headline", "training", "part", "interval"]


class Strong(str):
    """A cell's text in bold."""


@dataclass(frozen=True)
class TableRow:
    """A row of a table.

    Attributes:
        cells: its text; the first cell names the row.
        kind: how a page shows it: as the headline, as a training, as a part of the row above, or as its interval.
    """

    cells: Sequence[str]
    kind: Kind = ""


@dataclass(frozen=True)
class Table:
    """Rows of text beneath their columns' names.

    Attributes:
        head: the columns' names; the first one is usually empty.
        rows: as many cells each.
        caption: what the table shows, for pages.
        words: numbers of the columns that are words, not numbers, and stand on the left in Markdown.
    """

    head: Sequence[str]
    rows: Sequence[TableRow]
    caption: str = ""
    words: Sequence[int] = (0,)

    def markdown(self) -> list[str]:
        """The table's lines in Markdown; whatever would end a cell is escaped."""
        sides = "".join("---|" if column in self.words else "---:|" for column in range(len(self.head)))
        return [_line(self.head), f"|{sides}", *(_line(row.cells) for row in self.rows)]


def _line(cells: Sequence[str]) -> str:
    return "|" + "".join(f" {text} |" if text else " |" for text in map(_cell, cells))


def _cell(text: str) -> str:
    escaped = text.replace("|", "\\|")
    return f"**{escaped}**" if isinstance(text, Strong) else escaped
