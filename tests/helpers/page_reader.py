"""What a page holds, read as a browser would, and that it asks for nothing."""

from __future__ import annotations

import re
from html.parser import HTMLParser

VOID = {"meta", "img", "wbr"}  # tags without content


class Reader(HTMLParser):
    """The text of a page by tag, and what is wrong with its tags."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open, self.text, self.attributes, self.rows = [], "", [], []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.attributes += [(name, key, value) for key, value in attributes]
        assert len({key for key, _ in attributes}) == len(attributes)
        if name not in VOID:
            self.open.append(name)
        if name == "tr":
            self.rows.append([])
        if name in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name

    def handle_data(self, data: str) -> None:
        data = data.replace("\u00a0", " ")
        if "style" not in self.open:
            self.text += data + " "
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


def check_page(page: str) -> Reader:
    """Well-formed, and nothing that a browser would load."""
    reader = Reader(page)
    assert page.startswith("<!DOCTYPE html>\n<html")
    for tag, key, value in reader.attributes:
        assert tag not in ("script", "link", "iframe", "object", "base", "a")
        assert key not in ("href", "srcset", "action", "background") and not key.startswith("on")
        assert key != "src" or re.match(r"data:image/(png|webp);base64,[A-Za-z0-9+/=]+$", value)
    assert "url(" not in page and "@import" not in page and "http:" not in page and "https:" not in page
    return reader
