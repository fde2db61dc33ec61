"""Tables of numbers for a terminal of any width: names and headings fold, and no number is ever cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

NAME, WORD = 12, 14  # letters that a row's name and a word of a heading keep to themselves before they fold
FRAME = 3  # letters that a column takes beside its own


@dataclass(frozen=True)
class NumberTable:
    """Rows of numbers, in parts below each other where the terminal is too narrow for all columns.

    Attributes:
        title: what the cells are.
        columns: their names.
        rows: the name, the cells and the style of each row.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str], str]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """See rich's console protocol."""
        name = max(cell_len(name) for name, _, _ in self.rows)
        numbers = [max(map(cell_len, column)) for column in zip(*(cells for _, cells, _ in self.rows))]
        whole = [max(cell_len(column), width) for column, width in zip(self.columns, numbers)]
        room = options.max_width - 1
        if sum(whole) + name + FRAME * (len(whole) + 1) <= room:
            yield self._part(range(len(whole)), name=name, widths=whole, title=self.title)
            return
        words = [min(WORD, max(map(cell_len, column.split()), default=0)) for column in self.columns]
        widths = [max(pair) for pair in zip(words, numbers)]
        for part in _parts(widths, room=room - FRAME - min(name, NAME)):
            space = room - FRAME - sum(widths[i] + FRAME for i in part)
            yield self._part(part, name=max(1, min(name, space)), widths=widths, title="" if part[0] else self.title)

    def _part(self, part: Sequence[int], *, name: int, widths: Sequence[int], title: str) -> Table:
        """A table of some of the columns."""
        table = Table(title=Text(title, "table.title") if title else None)
        table.add_column("", width=name, overflow="fold")
        for i in part:
            table.add_column(Text(self.columns[i]), justify="right", width=widths[i], overflow="fold")
        for row, cells, style in self.rows:
            table.add_row(Text(row), *(Text(cells[i]) for i in part), style=style)
        return table


def _parts(widths: Sequence[int], *, room: int) -> Iterator[list[int]]:
    """Columns that fit beside each other, in order; one alone where none does."""
    part: list[int] = []
    for i, width in enumerate(widths):
        if part and sum(widths[j] + FRAME for j in part) + width + FRAME > room:
            yield part
            part = []
        part.append(i)
    if part:
        yield part
