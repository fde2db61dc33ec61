"""The run's seed, handed to whatever a config builds that draws at random and names no seed of its own."""

from __future__ import annotations

from typing import Any

from natx.config.schema.arguments import arguments
from natx.config.schema.built import PARTS, Built


def seeded(part: Any, seed: int, *, by: Built) -> Any:
    """A copy of a part of a config in which every class that takes a ``seed``, at any depth, has one.

    Args:
        part: ``dict(type=..., ...)`` or a list of such dicts; anything else is handed back.
        seed: the run's.
        by: what the part is built by.
    """
    if isinstance(part, (list, tuple)) and by.several:
        return type(part)(seeded(entry, seed, by=by) for entry in part)
    if not isinstance(part, dict) or part.get("type") is None:
        return part
    kind = by.registry.get(part["type"]) if isinstance(part["type"], str) else part["type"]
    inner = {name: (value, PARTS.get(name)) for name, value in part.items()}
    copy = {name: seeded(value, seed, by=of) if isinstance(of, Built) else value for name, (value, of) in inner.items()}
    return {"seed": seed, **copy} if kind is not None and "seed" in (arguments(kind) or {}) else copy
