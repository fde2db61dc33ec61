"""Companions: networks that a method trains beside the target (a natural network, a strategy network).

A companion is a submodule of the term or method that owns it, so it moves with the learner and ``last.pth`` holds its
state, without which a run is not resumed. The weights that a run hands out are the target's alone.
"""

from __future__ import annotations

from typing import Any

from natx.errors import ConfigError
from natx.registry import TASKS
from natx.task import Task


def build_companion(config: Task | dict[str, Any], **settings: Any) -> Task:
    """A task from its config, or one that is built already.

    Args:
        config: a task config.
        **settings: what the owner decides; the config must not say otherwise.

    Raises:
        ConfigError: the config contradicts the owner, or cannot be built.
    """
    if isinstance(config, Task):
        return config
    for key, value in settings.items():
        if config.get(key, value) != value:
            raise ConfigError(f"{key} of a companion is {value} here; got {config[key]!r}: leave it out")
    return TASKS.build({**config, **settings})


def check_same_pixels(companion: Task, target: Task, *, name: str) -> None:
    """Raise ConfigError where a companion takes images of another size than the target: both see the same pixels."""
    sizes = (companion.input_size, target.input_size)
    if None not in sizes and sizes[0] != sizes[1]:
        raise ConfigError(
            f"{name} takes inputs of {sizes[0]}, the target of {sizes[1]} (channels, height, width): both see the same "
            "pixels, so give it a model of the target's size"
        )


__all__ = ["build_companion", "check_same_pixels"]
