"""Progress inside a block of images: the members of AutoAttack that are through with it, in files beside the report."""

from __future__ import annotations

import json
from collections.abc import Sequence

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from natx.attacks.parts import Part
from natx.errors import ConfigError
from natx.evaluation.progress import Progress, digest
from natx.runtime.files import write_atomic

KEY = "natx-part-1"  # of what a file says beside its tensors
PIXELS, AT_LEAST = "x_adv", "at_least"


class BlockParts:
    """The finished parts of an attack on one block of images; each is in a file of its own, written atomically.

    :meth:`natx.evaluation.progress.Progress.add` removes them once the block is finished and its outcomes are there.

    Args:
        progress: of the evaluation.
        name: of the attack, unique in the evaluation.
        images: positions of the block's images.

    Attributes:
        seconds: what the parts took that were finished before.
    """

    def __init__(self, progress: Progress, name: str, images: Sequence[int]) -> None:
        self.progress, self.name, self.images = progress, name, images
        self.seconds = 0.0

    def stored(self, number: int, x: Tensor) -> Part | None:
        """See :class:`natx.attacks.parts.Parts`.

        Raises:
            ConfigError: its file is damaged.
        """
        path = self.progress.beside(self.name, self.images, part=number)
        if not path.exists():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                plain = json.loads(file.metadata()[KEY])
                pixels, at_least = file.get_tensor(PIXELS), file.get_tensor(AT_LEAST)
            spent, flags = (int(plain["forwards"]), int(plain["backwards"])), [str(flag) for flag in plain["flags"]]
            part = Part(pixels, *spent, at_least, flags, float(plain["seconds"]))
            same = plain["of"] == digest(x)
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:120]
            raise ConfigError(f"{path} is damaged ({reason}): delete it, and its part is computed again") from error
        if not same:  # kernels that are not deterministic may leave other images right
            return None
        self.seconds += part.seconds
        return part

    def add(self, number: int, x: Tensor, part: Part) -> None:
        """See :class:`natx.attacks.parts.Parts`."""
        tensors = {PIXELS: part.x_adv, AT_LEAST: part.at_least}
        plain = {
            "of": digest(x),
            "forwards": part.forwards,
            "backwards": part.backwards,
            "flags": part.flags,
            "seconds": round(part.seconds, 3),
        }
        stored = {name: one.detach().cpu().contiguous() for name, one in tensors.items()}
        content = save(stored, metadata={KEY: json.dumps(plain)})
        write_atomic(self.progress.beside(self.name, self.images, part=number), lambda file: file.write(content))
