"""Overrides of a config as they are typed: ``--cfg-options key.sub=value``."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

from natx.errors import ConfigError

GREY_LEVELS = re.compile(r"(\d+(?:\.\d+)?) ?/ ?255")
WORDS = {"true": True, "false": False}
WRAPPED = {"[]": list, "()": tuple}


def parse_option(text: str) -> tuple[str, Any]:
    """The dotted key and the value of ``key.sub=value``.

    A value is a number, True, False or None; a list in brackets or of commas alone, a tuple in parentheses; all else is
    text. Quotes around it are left out. So reads mmengine's DictAction too, which takes every space out of texts:
    ``my photos`` would be another folder. Grey levels, as ``4/255``, are a number here.

    Raises:
        ConfigError: no equals sign, or brackets that do not close.
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"--cfg-options takes key.sub=value; got {text}")
    try:
        return key, _value(value)
    except ValueError as error:
        raise ConfigError(f"--cfg-options takes key.sub=value; got {text} (brackets that do not close)") from error


def _value(text: str) -> Any:
    text = text.strip().strip("'\"").strip()
    wrapped = WRAPPED.get(text[:1] + text[-1:])
    if wrapped is None and "," not in text:
        return _scalar(text)
    parts = _parts(text)
    if wrapped is not None and len(parts) == 1:
        return wrapped(map(_value, _parts(text[1:-1])))
    return [_value(part) for part in parts]


def _parts(text: str) -> list[str]:
    """What stands between the commas outside of brackets; the last one may end with a comma."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "([") - (letter in ")]")
        if depth < 0:
            break
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    if depth:
        raise ValueError(text)
    return parts if parts[-1].strip() else parts[:-1]


def _scalar(text: str) -> Any:
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    if levels := GREY_LEVELS.fullmatch(text):
        return float(levels[1]) / 255
    return None if text == "None" else WORDS.get(text.lower(), text)
