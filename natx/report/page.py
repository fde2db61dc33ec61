"""Pages from templates: each is one file that needs nothing but itself, and every text in it is escaped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from natx.checks.base import GREEN, RED
from natx.checks.text import chance_text, number_text
from natx.report.tables import Strong

TEMPLATES = Path(__file__).with_name("templates")


def tone(verdict: str) -> str:
    """The style's class of a verdict."""
    return verdict if verdict in (RED, GREEN) else "grey"


def render_page(template: str, *, title: str, **content: Any) -> str:
    """A whole page.

    Args:
        template: its name in the folder of templates, without ``.html.j2``.
        title: the window's title and the heading.
        content: what the template reads; a name that it misses is an error.
    """
    return PAGES.get_template(f"{template}.html.j2").render(title=title, **content) + "\n"


PAGES = Environment(
    loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
PAGES.filters.update(tone=tone, figure=number_text, chance=chance_text)
PAGES.tests["strong"] = lambda value: isinstance(value, Strong)
