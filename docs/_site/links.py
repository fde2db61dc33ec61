"""Links of pages that are written for a plain git host, as the site has them."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
SHOWN = (".md", ".png", ".json", ".html")  # what of results/ is on the site


def relinked(text: str, *, page: str) -> str:
    """Markdown whose relative links go to where the site has what they name.

    Args:
        text: the Markdown.
        page: its file, from the root of the repository.
    """
    here = PurePosixPath(on_site(page) or page).parent

    def link(match: re.Match[str]) -> str:
        mark, words, target = match.groups()
        if re.match(r"[a-z]+:|#", target):
            return match[0]
        name, _, part = target.partition("#")
        path = posixpath.normpath(posixpath.join(posixpath.dirname(page), name))
        place = on_site(path)
        if place is None:
            return words if (ROOT / path).exists() else match[0]  # a link to nothing fails the strict build
        return f"{mark}[{words}]({posixpath.relpath(place, here)}{'#' + part if part else ''})"

    return LINK.sub(link, text)


def on_site(path: str) -> str | None:
    """The site's file of a file or folder of the repository; None where the site does not have it."""
    top, _, rest = path.partition("/")
    if path == "README.md":
        return "index.md"
    if top == "docs" and rest:
        return rest.removesuffix(".ipynb") + ".md" if rest.endswith(".ipynb") else rest
    if top == "results" and (ROOT / path).is_dir():
        return f"{path}/index.md"
    return path if top == "results" and path.endswith(SHOWN) else None


def listing(folder: Path) -> str:
    """A page of links to what lies in a folder of results."""
    title = "Results" if folder.name == "results" else f"Results: {folder.name}"
    entries = [path for path in sorted(folder.iterdir()) if path.suffix in SHOWN or path.is_dir()]
    names = [f"{path.name}/index.md" if path.is_dir() else path.name for path in entries]
    return "\n".join([f"# {title}\n", *(f"- [{path.name}]({name})" for path, name in zip(entries, names))]) + "\n"
