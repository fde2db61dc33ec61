"""docs/config.md from the schema: ``python -m natx.config.docs`` writes it, and a test fails where it is stale."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import fill
from typing import Annotated, Any, Literal

from pydantic.fields import FieldInfo

from natx.config.check import ANALYSED, CRAFTED, EXPORTED, JUDGED
from natx.config.find import CHECKOUT
from natx.config.schema.attacks import AttackConfig
from natx.config.schema.built import Built
from natx.config.schema.parts import FrozenModel
from natx.config.schema.section import Section, inner_section
from natx.config.schema.study import StudyConfig, Tables
from natx.config.schema.training import ClipGrad, Paramwise, Training
from natx.runtime.files import write_text

PAGE = CHECKOUT / "docs" / "config.md"
WIDTH = 120
OPENING = """# Configs: every key

<!-- Made from natx/config/schema by `python -m natx.config.docs`: change the text there. -->

A config is a Python file of plain assignments. `_base_ = [...]` names files that it builds on; dicts of the same name
are merged, key by key (`_delete_=True` in a dict replaces it). `--cfg-options key.sub=value` overrides values, entries
of lists by number: `method.terms.1.weight=0.02`. **A config is code: run only those you trust.**

Everything below is checked before data is read or anything computed, in files and in options alike: a key that nothing
reads, a wrong type or a number out of range is one line that names the key and the nearest one that exists. At the top
level, and only there, a config may have variables of its own, which other lines of it use; one whose name is nearly a
key is refused.

A value written as *task*, *attack*, *term* and so on is `dict(type="ClassName", ...)`: the class is looked up among
those of natx and of the modules in `custom_imports`, and the other keys are the arguments of its constructor, which
its own documentation explains. They are checked against its signature, at every depth.

The schema is written in [pydantic](https://docs.pydantic.dev): it reports all findings with the path of each, tells
types and bounds from annotations, and takes a check of one's own where a class's signature decides (a schema of
dataclasses would need all three written by hand). It is used to judge values, never to convert them.
"""


def page() -> str:
    """The text of docs/config.md."""
    parts = [OPENING]
    for title, roots in (
        ("Training configs", (Training, FrozenModel, Paramwise, ClipGrad)),
        ("Attack configs", (AttackConfig,)),
        ("Study configs", (StudyConfig,)),
        ("Tables of the paper (configs/paper/tables.json)", (Tables,)),
    ):
        parts.append(f"## {title}\n")
        parts += [_needed_elsewhere()] if Training in roots else []
        parts += [_table(section) for section in _sections(roots, known=[])]
    return "\n".join(parts)


def _needed_elsewhere() -> str:
    """What other uses of a training config than training need of it."""
    kinds = (JUDGED, CRAFTED, ANALYSED, EXPORTED)
    uses = ", ".join(f"for {kind.use} `{'` and `'.join(kind.needs or ())}`" for kind in kinds)
    text = (
        f"*needed* below is what training needs. Less is enough: {uses}; each with the `custom_imports` that register "
        "the classes named there."
    )
    return f"{fill(text, width=WIDTH, break_on_hyphens=False)}\n"


def write(path: Path = PAGE) -> None:
    """Write the page."""
    write_text(path, page())


def _sections(roots: Sequence[type[Section]], *, known: list[type[Section]]) -> Iterator[type[Section]]:
    """Sections and those within them, each once."""
    for section in roots:
        if section in known:
            continue
        known.append(section)
        yield section
        inner = (inner_section(field.annotation) for field in section.model_fields.values())
        yield from _sections([one for one in inner if one is not None], known=known)


def _table(section: type[Section]) -> str:
    """A section's heading and keys as Markdown."""
    heading = (inspect.getdoc(section) or "").partition("\n")[0]
    rows = [
        f"| `{name}` | {_type(field)} | {_default(field)} | {field.description} |"
        for name, field in section.model_fields.items()
    ]
    return "\n".join([f"{heading}\n", "| key | type | default | meaning |", "|---|---|---|---|", *rows, ""])


def _type(field: FieldInfo) -> str:
    built = [entry for entry in field.metadata if isinstance(entry, Built)]
    if built:
        name = f"*{built[0].registry.name}*"
        return f"list of {name}" if built[0].several else name
    bounds = [
        f"{sign} {getattr(entry, name):.12g}"
        for entry in field.metadata
        for name, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))
        if hasattr(entry, name)
    ]
    return ", ".join([_words(field.annotation), *bounds])


def _words(annotation: Any) -> str:
    """A type in words."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _words(parts[0])
    if origin is Literal:
        return " or ".join(f"`{part!r}`" for part in parts)
    if origin in (typing.Union, types.UnionType):
        words = [_words(part) for part in parts if part not in (type(None), Path)]
        return " or ".join(words)
    if origin is dict:
        return f"dict of {_words(parts[1])}"
    if origin is not None:
        return f"list of {_words(parts[0])}"
    plain = {str: "text", int: "whole number", float: "number", bool: "True or False", Any: "any value"}
    return plain.get(annotation) or "dict, see below"


def _default(field: FieldInfo) -> str:
    return "needed" if field.is_required() else "none" if field.default is None else f"`{field.default!r}`"


if __name__ == "__main__":
    write()
