"""Section: a part of a config whose keys natx itself reads; what it says of a key is all that is said of it."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Problem = tuple[str, str]  # (dotted key, what is to be said of it)
MISSING = "is missing"


class Section(BaseModel):
    """A dict of a config: its keys with their types, defaults and meanings; every other key is refused.

    Values are not converted: ``"3"`` is no number. The first line of a subclass's docstring heads its table in
    docs/config.md.

    Attributes:
        refused: keys that other programs read in such a config, each with what to say of it.
    """

    refused: ClassVar[dict[str, str]] = {}
    model_config = ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True)


def entry(meaning: str, *, default: Any = ..., **limits: Any) -> Any:
    """A key of a :class:`Section`.

    Args:
        meaning: one line that says what the key decides.
        default: what counts where the key is absent; a key without one must be there.
        limits: bounds of a number (``ge``, ``gt``, ``le``, ``lt``).
    """
    return Field(default, description=meaning, **limits)


class Part:
    """What a key holds, where that is more than a plain value."""

    def problems(self, value: Any, key: str) -> Iterator[Problem]:
        """What does not fit in a value; ``key`` is where it stands in the config."""
        raise NotImplementedError


@dataclass(frozen=True)
class Keys(Part):
    """A section among a class's arguments.

    Attributes:
        section: its keys.
    """

    section: type[Section]

    def problems(self, value: Any, key: str) -> Iterator[Problem]:
        """See :meth:`Part.problems`; what is no dict is for the class to refuse."""
        if isinstance(value, dict):
            yield from section_problems(self.section, value, key)


def section_problems(section: type[Section], value: Any, key: str = "") -> list[Problem]:
    """What does not fit in a section; ``key`` is where it stands in the config."""
    try:
        section.model_validate(value)
    except ValidationError as error:
        return [problem for finding in error.errors() for problem in _problems(section, finding, key)]
    return []


def _problems(section: type[Section], finding: Any, key: str) -> Iterator[Problem]:
    """A finding of pydantic as problems with their keys."""
    path = [str(part) for part in finding["loc"]]
    where = joined(key, *path)
    if finding["type"] == "built":
        for inner, text in finding["ctx"]["problems"]:
            yield joined(where, inner), text
    elif finding["type"] == "extra_forbidden":
        yield where, unread(path[-1], _known(section, path[:-1]))
    elif finding["type"] == "missing":
        yield where, MISSING
    elif finding["type"] == "value_error":  # of a section's own check
        yield where, str(finding["ctx"]["error"])
    else:
        expected = finding["msg"].removeprefix("Input ").partition(" or instance of")[0]
        yield where, f"{expected}; got {finding['input']!r}"


def _known(section: Any, path: Sequence[str]) -> list[str]:
    """The keys of the section at a path within a section."""
    for name in path:
        if name in getattr(section, "model_fields", {}):
            section = inner_section(section.model_fields[name].annotation)
    return list(section.model_fields)


def inner_section(annotation: Any) -> Any:
    """The section that an annotation names (``Data``, ``Data | None``, ``dict[str, Row]``), or None."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next((inner for part in typing.get_args(annotation) if (inner := inner_section(part))), None)


def unread(name: str, known: Sequence[str], *, by: str | None = None) -> str:
    """That nothing reads a key, with the nearest one beside it that something does.

    Args:
        name: the key.
        known: the keys that are read there.
        by: the class whose arguments they are, if they are those of a class.
    """
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    text = "is read by nothing" if by is None else f"is no argument of {by}"
    return f"{text}: is {close[0]!r} meant?" if close else f"{text}; known there: {', '.join(known) or 'no key'}"


def joined(*parts: str) -> str:
    """A dotted key."""
    return ".".join(part for part in parts if part)
