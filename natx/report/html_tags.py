"""HTML from Python: text is escaped unless it is markup already, and every tag that opens is closed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

VOID = ("br", "img", "meta")  # tags without content


class Html(str):
    """Markup that is finished; any other text is escaped where it is put into markup."""


def html(*parts: Any) -> Html:
    """The parts one after the other; what is no markup is escaped, None is left out."""
    return Html("".join(part if isinstance(part, Html) else escape(str(part)) for part in parts if part is not None))


def tag(name: str, /, *content: Any, **attributes: Any) -> Html:
    """``<name attributes>content</name>``.

    Args:
        name: the tag.
        content: as in :func:`html`.
        attributes: escaped; None leaves an attribute out. ``class_`` stands for class, ``_`` elsewhere for ``-``.
    """
    written = "".join(
        f' {"class" if key == "class_" else key.replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{name}{written}>" if name in VOID else f"<{name}{written}>{html(*content)}</{name}>")


def table(head: Sequence[Any], rows: Iterable[tuple[str | None, Sequence[Any]]], *, caption: str) -> Html:
    """A table in a box of its own, which scrolls sideways where the page is too narrow.

    Args:
        head: the columns' names.
        rows: a class (or None) and the cells of each row; the first cell names the row.
        caption: what the table shows.
    """
    body = [
        tag("tr", tag("th", cells[0], scope="row"), *(tag("td", cell) for cell in cells[1:]), class_=kind)
        for kind, cells in rows
    ]
    content = tag(
        "table",
        tag("thead", tag("tr", *(tag("th", name, scope="col") for name in head))),
        tag("tbody", *body),
    )
    # A box that scrolls must be reachable by keyboard.
    box = tag("div", content, class_="scroll", tabindex="0", role="region", aria_label=caption)
    return html(tag("p", caption, class_="quiet"), box)


def facts(pairs: Iterable[tuple[str, Any]]) -> Html:
    """Names and values, one below the other."""
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in pairs))


def section(title: str, *content: Any) -> Html:
    """A part of a page; empty where it has no content."""
    content = tuple(part for part in content if part)
    return tag("section", tag("h2", title), *content) if content else Html()
