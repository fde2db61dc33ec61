"""A config as one file, with what its bases say."""

from __future__ import annotations

from keyword import iskeyword
from pathlib import Path
from typing import Any

from natx.config.check import plain_dict
from natx.config.find import find_config, header
from natx.config.load import load_config

COMMAND = "Command:"  # of a header, which names the file that it stands in
WIDTH = 120


def resolved_text(name: str | Path) -> str:
    """The text of a config that needs no base: the sentences of its header, then every key.

    Raises:
        ConfigError: see :func:`natx.config.load.load_config`.
    """
    content = plain_dict(load_config(name))
    lines = header(find_config(name))
    about = lines[: next((i for i, line in enumerate(lines) if line.startswith(COMMAND)), len(lines))]
    lines = [*(f"# {line}" for line in about), *(f"{key} = {_literal(value)}" for key, value in content.items())]
    return "\n".join(lines) + "\n"


def _literal(value: object, indent: int = 0) -> str:
    """A value as Python, broken over lines where it is long, with ``dict(...)`` as configs are written."""
    flat = _flat(value)
    if len(flat) + indent + 20 <= WIDTH or not isinstance(value, (dict, list, tuple)) or not value:
        return flat
    inner, close = " " * (indent + 4), " " * indent
    if isinstance(value, dict):
        opening, closing = ("dict(", ")") if _named(value) else ("{", "}")
        parts = [f"{_key(key, value)}{_literal(entry, indent + 4)}" for key, entry in value.items()]
    else:
        opening, closing = "[]" if isinstance(value, list) else "()"
        parts = [_literal(entry, indent + 4) for entry in value]
    return "\n".join([opening, *(f"{inner}{part}," for part in parts), f"{close}{closing}"])


def _flat(value: object) -> str:
    if isinstance(value, dict):
        opening, closing = ("dict(", ")") if _named(value) else ("{", "}")
        return opening + ", ".join(f"{_key(key, value)}{_flat(entry)}" for key, entry in value.items()) + closing
    if isinstance(value, list):
        return f"[{', '.join(map(_flat, value))}]"
    if isinstance(value, tuple):
        return f"({', '.join(map(_flat, value))}{',' if len(value) == 1 else ''})"
    return repr(value)


def _key(key: object, of: dict[Any, Any]) -> str:
    return f"{key}=" if _named(of) else f"{key!r}: "


def _named(value: dict[Any, Any]) -> bool:
    """Whether all keys can be written as arguments of ``dict``."""
    return all(isinstance(key, str) and key.isidentifier() and not iskeyword(key) for key in value)
