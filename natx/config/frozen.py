"""The frozen models that a config names: adversaries, teachers, sources of copies, weights to start from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmengine.config import Config


def frozen_models(config: Config) -> Iterator[dict[str, Any]]:
    """Configs of all models that must exist before a run: adversaries, sources of copies, what it is to ``start`` from.

    In an attack config these are the models that its attacks look at, and its ``sources``. Members of ensembles come
    one by one. They are the config's own dicts: changing one changes the config.
    """
    yield from _frozen_models(config._cfg_dict)


def _frozen_models(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("adversary", "source", "start", "teacher") and isinstance(value, dict):
                yield from value.get("members", [value])
            elif key == "sources" and isinstance(value, dict):
                yield from value.values()
            else:
                yield from _frozen_models(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from _frozen_models(value)
