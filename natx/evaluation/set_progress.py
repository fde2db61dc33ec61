"""Progress of an evaluation of a set: the predictions of its finished blocks of images, in files beside the report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from natx.attacks import Cost
from natx.errors import ConfigError
from natx.evaluation.progress import Progress, positions, ranges
from natx.runtime.files import write_atomic

KEY = "natx-set-block-1"  # of what a file says beside its tensors
WHOLE, PIXELS, SIZES = "predictions", "pixels", "sizes"


@dataclass
class SetBlock:
    """What an attack made of some images that were loaded together, or, without one, what is predicted of them.

    Attributes:
        images: their positions in the data set.
        predictions: what the task predicts of them: a tensor ``[n, ...]``, or a list with an entry an image.
        sizes: the ``SIZES`` of their perturbations, float64 ``[n, 3]``; zeros without an attack.
        pixels: by position the attacked image ``[C, H, W]``, on the CPU, of those that are shown.
        cost: what it took.
        notes: remarks that belong in a report.
        seconds: time.
    """

    images: list[int]
    predictions: Any
    sizes: Tensor
    pixels: dict[int, Tensor] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0


class SetProgress:
    """The finished blocks of an evaluation of a set; each is in a safetensors file of its own, written atomically.

    Beside them lies the ``progress.json`` that says of which evaluation they are, one a process, as
    :class:`natx.evaluation.progress.Progress` has it.

    Args:
        folder: see there, as the others.
        evaluation: likewise.
        resume: likewise.

    Raises:
        ConfigError: likewise.
    """

    def __init__(self, folder: Path, evaluation: dict[str, Any], *, resume: bool = False) -> None:
        self.identity = Progress(folder, evaluation, resume=resume)
        self.identity.write()

    def stored(self, name: str, images: Sequence[int]) -> SetBlock | None:
        """The block of some images under an attack if it was finished before.

        Raises:
            ConfigError: its file is damaged.
        """
        path = self.identity.beside(name, images)
        if not path.exists():
            return None
        try:
            return _read(path)
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:120]
            raise ConfigError(f"{path} is damaged ({reason}): delete it, and its images are judged again") from error

    def add(self, name: str, block: SetBlock) -> None:
        """Keep a finished block; it is on the disk when this returns.

        Raises:
            ConfigError: predictions that are neither tensors nor lists of them.
        """
        content = save(_tensors(block), metadata={KEY: json.dumps(_plain(block))})
        write_atomic(self.identity.beside(name, block.images), lambda file: file.write(content))


def _plain(block: SetBlock) -> dict[str, Any]:
    """What of a block is no tensor."""
    return {
        "images": ranges(block.images),
        "forwards": block.cost.forwards,
        "backwards": block.cost.backwards,
        "notes": block.notes,
        "seconds": round(block.seconds, 3),
    }


def _tensors(block: SetBlock) -> dict[str, Tensor]:
    """A block's tensors by name: predictions whole, or an image and entry at a time."""
    named = {SIZES: block.sizes, **{f"{PIXELS}.{position}": image for position, image in block.pixels.items()}}
    if isinstance(block.predictions, Tensor):
        named[WHOLE] = block.predictions
    else:
        for row, prediction in enumerate(block.predictions):
            entries = prediction.items() if isinstance(prediction, dict) else [("", prediction)]
            named |= {f"{WHOLE}.{row}.{key}": value for key, value in entries}
    if strange := [f"{name} is a {type(one).__name__}" for name, one in named.items() if not isinstance(one, Tensor)]:
        raise ConfigError(
            f"a judging keeps predictions that are a tensor, or a list of tensors or of dicts of them; {strange[0]}"
        )
    # Copies: columns of one tensor share its memory, which the format refuses.
    return {name: one.detach().cpu().clone(memory_format=torch.contiguous_format) for name, one in named.items()}


def _read(path: Path) -> SetBlock:
    """A block from its file."""
    with safe_open(path, framework="pt") as file:
        plain = json.loads(file.metadata()[KEY])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no dict
    images = positions(plain["images"])
    pixels = {int(name.partition(".")[2]): one for name, one in tensors.items() if name.startswith(f"{PIXELS}.")}
    cost = Cost(int(plain["forwards"]), int(plain["backwards"]))
    predictions = tensors[WHOLE] if WHOLE in tensors else _listed(tensors, len(images))
    return SetBlock(images, predictions, tensors[SIZES], pixels, cost, list(plain["notes"]), float(plain["seconds"]))


def _listed(tensors: dict[str, Tensor], count: int) -> list[Any]:
    """The predictions of ``count`` images from their entries."""
    rows: list[dict[str, Tensor]] = [{} for _ in range(count)]
    for name, tensor in tensors.items():
        head, _, rest = name.partition(".")
        if head == WHOLE:
            row, _, key = rest.partition(".")
            rows[int(row)][key] = tensor
    return [row[""] if set(row) == {""} else row for row in rows]
