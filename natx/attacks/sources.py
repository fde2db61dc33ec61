"""Models that attacks look at besides the attacked one, named once in an attack config."""

from __future__ import annotations

from typing import Any

from natx.errors import ConfigError

ROLES = ("adversary", "source")  # keys under which attacks and objectives take another model


def with_sources(node: Any, sources: dict[str, Any]) -> Any:
    """A copy of attacks (or any part of their config) in which names of models are replaced by their configs.

    Args:
        node: dicts, lists and plain values; a text under ``adversary`` or ``source`` is a name.
        sources: configs of the models by name, see :func:`natx.models.adversary.build_adversary`.

    Raises:
        ConfigError: a name that ``sources`` lacks.
    """
    if isinstance(node, (list, tuple)):
        return type(node)(with_sources(entry, sources) for entry in node)
    if not isinstance(node, dict):
        return node
    return {
        key: _source(value, sources) if key in ROLES and isinstance(value, str) else with_sources(value, sources)
        for key, value in node.items()
    }


def _source(name: str, sources: dict[str, Any]) -> Any:
    if name not in sources:
        names = ", ".join(sources) or "none"
        raise ConfigError(f"no model is called {name}; sources of the attack config: {names}")
    return sources[name]
