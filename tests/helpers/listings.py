"""What a reader could copy out of README.md and docs/: commands and Python listings, page by page."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
PLACEHOLDER = re.compile(r"[A-Z][A-Z_]*\d*$")  # CONFIG, CHECKPOINT, RUN_A, DIR: what a reader fills in


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        page: its file.
        heading: the nearest heading above it.
        language: what stands behind the fence.
        text: what is inside.
    """

    page: Path
    heading: str
    language: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT).as_posix()}, {self.heading!r}"

    @property
    def is_output(self) -> bool:
        """Something printed, not something to type."""
        return "┏" in self.text

    def commands(self) -> Iterator[tuple[list[str], str]]:
        """The words of each command and its comment."""
        for line in self.text.replace("\\\n", " ").splitlines():
            code, _, comment = line.partition(" #")
            words = shlex.split(re.sub(r"\[(--[^]]*|[A-Z][A-Z_. ]*)\]", r"\1", code), comments=True)
            while words and words[0] in ("srun", "$"):
                words = words[1:]
            if words:
                yield words, comment.strip()


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page in order."""
    text = page.read_text()
    plain = BLOCK.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)  # '#' in code is no heading
    headings = [(match.start(), match[1]) for match in HEADING.finditer(plain)]
    return [
        Block(page, [name for start, name in headings if start < match.start()][-1], match[1], match[2])
        for match in BLOCK.finditer(text)
    ]


def expanded(text: str) -> list[str]:
    """A name with braces as a shell expands it."""
    match = re.search(r"\{([^{}]*)\}", text)
    if match is None:
        return [text]
    return [
        name for part in match[1].split(",") for name in expanded(text[: match.start()] + part + text[match.end() :])
    ]


def inline_paths(page: Path) -> Iterator[str]:
    """Paths of this repository in the running text, and in tables whose heading names a folder of configs."""
    folder = ""
    for line in BLOCK.sub("", page.read_text()).splitlines():
        if not line.startswith("|"):
            folder = ""
        elif match := re.match(r"\| (configs/\w+/) \|", line):
            folder = match[1]
        first = line.split("|")[1] if folder else ""
        for code in re.findall(r"`([^`]+)`", line):
            path = code.split()[0]
            if re.match(r"(configs|tools|docs|natx|tasks|tests|results)/[\w./*{},-]+$", path):
                yield from expanded(path)
            elif folder and f"`{code}`" in first and path.endswith(".py"):
                yield from (folder + name for name in expanded(path))
