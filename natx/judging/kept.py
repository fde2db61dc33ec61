"""What a judging without a config has finished, kept in a folder and found again by content."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from natx.attacks import Attack
from natx.data.base import InMemory
from natx.errors import ConfigError
from natx.evaluation.progress import Progress, by_content, clear_progress, digest
from natx.judging.content import content, named, own
from natx.models.wrap import ModuleTask
from natx.runtime.provenance import package_versions


class Kept:
    """The finished blocks of judgings, each in a folder of its own within one that other calls may share.

    Another model (weights, attributes by their content, the source of its classes), other images, labels, attacks,
    settings or packages make another judging, which begins anew beside it.

    Args:
        folder: of the judgings, made where it does not exist; None keeps nothing.
    """

    def __init__(self, folder: str | Path | None) -> None:
        self.folder = None if folder is None else Path(folder)
        self.places: list[Path] = []

    def progress(
        self,
        task: ModuleTask,
        answer: Tensor,
        *,
        dataset: InMemory,
        attacks: Sequence[Any],
        built: Sequence[Attack],
        settings: dict[str, Any],
    ) -> Progress | None:
        """That of one judging, with what was finished before.

        Args:
            task: the wrapped model.
            answer: its logits for the first images, whose classes tell what else has changed in its code.
            dataset: the images, with labels as the model numbers them.
            attacks: names and configs, as given.
            built: the attacks that were made of them.
            settings: further plain values that decide the outcomes.

        Raises:
            ConfigError: an attack that is given as an object, which may hold more than it says of itself.
        """
        if self.folder is None:
            return None
        if objects := [entry.name for entry in attacks if isinstance(entry, Attack)]:
            raise ConfigError(
                f"progress knows attacks by their names and configs; {objects[0]} is an object: give its name or config"
            )
        identity = {
            "model": model_identity(task),
            "classes": digest(answer.argmax(1)),
            "images": digest(dataset.images),
            "labels": digest(dataset.labels),
            "attacks": [{"entry": by_content(entry), **attack.describe()} for entry, attack in zip(attacks, built)],
            "packages": package_versions(),
            **settings,
        }
        name = hashlib.sha256(json.dumps(identity, default=str).encode()).hexdigest()[:24]
        self.places.append(self.folder / name)
        return Progress(self.places[-1], identity, resume=True)

    def clear(self) -> None:
        """Remove what was kept of these judgings: all are finished."""
        for place in self.places:
            clear_progress(place)
            with suppress(OSError):  # something else was put there
                place.rmdir()


def model_identity(module: nn.Module) -> dict[str, Any]:
    """Plain values that tell a module from another: tensors, attributes, structure and the source of classes."""
    tensors = hashlib.sha256()
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        tensors.update(f"{name} {digest(tensor)}\n".encode())
    kinds = sorted({type(part) for part in module.modules()}, key=named)
    return {
        "tensors": tensors.hexdigest(),
        "structure": hashlib.sha256(re.sub(r" at 0x[0-9a-f]+", "", repr(module)).encode()).hexdigest(),
        "attributes": {name: content(own(part)) for name, part in module.named_modules()},
        "source": {named(kind): _source(kind) for kind in kinds if not named(kind).startswith("torch.")},
    }


def _source(kind: type) -> str:
    """A hash of a class's source, where it can be read."""
    try:
        return hashlib.sha256(inspect.getsource(kind).encode()).hexdigest()
    except (OSError, TypeError):  # typed into an interpreter
        return "unknown"


__all__ = ["Kept", "model_identity"]
