"""A study as Markdown and as a page."""

from __future__ import annotations

from pathlib import Path

from natx.checks.text import earlier_verdicts, markdown_checks_beside, wording
from natx.errors import ConfigError
from natx.report.checks_beside import ChecksBeside
from natx.report.embedded import embed
from natx.report.page import render_page
from natx.report.tables import Table
from natx.runtime.files import write_text
from natx.study.content import Group, StudyContent

PAGE = ".html"
MARKDOWN = (".md", ".markdown")  # what may be overwritten
READING = "In short"


def markdown_file(path: str | Path) -> Path:
    """The Markdown file of a study; raises ConfigError for the name that its page gets, a folder or another file."""
    file = Path(path)
    if file.is_dir() or (file.exists() and file.suffix.lower() not in MARKDOWN):
        raise ConfigError(f"--out is the Markdown file to write; {file} is there and is none: name another")
    if file.suffix == PAGE:
        raise ConfigError(f"--out is the Markdown file, and its page gets the same name with {PAGE}; got {file}")
    return file


def write_study(path: Path, content: StudyContent, *, figure: Path | None = None) -> str:
    """Write a study as Markdown and, under the same name with .html, as a page, each whole or not at all.

    Args:
        path: the Markdown file.
        content: what the study shows.
        figure: its figure, if it has one.

    Returns:
        The Markdown.
    """
    text = markdown(content, figure=figure)
    write_text(path, text)
    write_text(path.with_suffix(PAGE), study_page(content, figure=figure))
    return text


def markdown(content: StudyContent, *, figure: Path | None = None) -> str:
    """A study as Markdown; arguments as in :func:`write_study`."""
    lines = [f"# {content.title}", "", f"Made by `{content.command}`."]
    lines += ["", content.about] if content.about else []
    lines += ["", f"## {READING}", "", *(f"- {sentence}" for sentence in content.reading)] if content.reading else []
    for note in _notes(content):
        lines += ["", note]
    for group in content.groups:
        lines += _group(group)
    lines += markdown_checks_beside(content.audited) if content.audited else []
    lines += ["## Cost", "", f"{content.costs.caption}.", "", *content.costs.markdown()]
    lines += ["", content.machine] if content.machine else []
    lines += ["", f"![{content.title}]({figure.name})"] if figure else []
    return "\n".join(lines) + "\n"


def _notes(content: StudyContent) -> list[str]:
    """What to know before reading the tables."""
    return [f"Note: {note}." for note in (content.missing, earlier_verdicts(content.audited.values())) if note]


def _group(group: Group) -> list[str]:
    """The lines of one table."""
    lines = ["", f"## {group.title}"] if group.title else []
    lines += ["", group.explanation] if group.explanation else []
    lines += ["", *group.table.markdown(), "", *(f"Note: {note}.\n" for note in group.notes)]
    level = "###" if group.title else "##"
    for title, table in _tables(group):
        lines += [f"{level} {title}", "", f"{table.caption}.", "", *table.markdown(), ""]
    if group.each:
        lines += [f"{level} Each seed", "", *group.each.markdown(), ""]
    return lines


def _tables(group: Group) -> list[tuple[str, Table]]:
    """The tables beneath a group's own, with their headings."""
    tables = {
        "What the attacks did": group.values,
        "Rows against their rivals": group.rivals,
        "Pairs on the same images": group.paired,
        "What the outputs look like": group.sparsity,
        "What a difference would take": group.needed,
    }
    return [(title, table) for title, table in tables.items() if table is not None]


def study_page(content: StudyContent, *, figure: Path | None = None) -> str:
    """A study as a page; arguments as in :func:`write_study`."""
    groups = [
        {
            "title": group.title,
            "explanation": group.explanation,
            "table": group.table,
            "notes": [f"Note: {note}." for note in group.notes],
            "each": group.each,
            "further": _tables(group),
        }
        for group in content.groups
    ]
    return render_page(
        "study",
        title=content.title,
        about=content.about,
        reading_title=READING,
        reading=content.reading,
        command=content.command,
        notes=_notes(content),
        groups=groups,
        figure=embed(figure, title=content.title, text=content.title) if figure else None,
        wordings=[f"{name}: {wording(report)}" for name, report in content.audited.items()],
        checks=ChecksBeside(content.audited) if content.audited else None,
        costs=content.costs,
        machine=content.machine,
    )
