"""Real and generated images in one training set, and batches with a fixed share of each (Wang et al. 2023)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from mmengine.dist import get_dist_info
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from natx.batch import Batch, join, select
from natx.errors import ConfigError, DataError
from natx.registry import SAMPLERS


class Mixed(Dataset):
    """Real images, then generated ones.

    A generated image's ``index`` goes on where those of the real set end, held-out images included, so no two images
    share their random draws and holding out more images changes no draw.

    Args:
        real: training images, without those held out.
        generated: generated images of the same classes, size and pixel type.
        whole: number of real images, held-out ones included.

    Raises:
        DataError: the two sets differ in classes, image shape, pixel type or entries.
    """

    def __init__(self, real: Any, generated: Any, *, whole: int) -> None:
        ours, theirs = (getattr(part, "num_classes", None) for part in (real, generated))
        if None not in (ours, theirs) and ours != theirs:
            raise DataError(f"the generated images have {theirs} classes, the real ones {ours}: set num_classes")
        first, other = (_entries(part) for part in (real, generated))
        if first != other:
            raise DataError(f"the generated images are {other}, the real ones {first}: make them agree")
        self.real, self.generated, self.whole = real, generated, whole
        self.classes, self.num_classes = getattr(real, "classes", None), ours

    @property
    def labels(self) -> Tensor:
        """Class of every image, int64 ``[len]``."""
        return torch.cat([self.real.labels, self.generated.labels])

    def __len__(self) -> int:
        return len(self.real) + len(self.generated)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """A batch in the order of ``indices``, see :mod:`natx.batch`."""
        positions = torch.as_tensor(indices, dtype=torch.int64)
        generated = positions >= len(self.real)
        places = [(~generated).nonzero().squeeze(1), generated.nonzero().squeeze(1)]
        parts = [
            dataset.__getitems__((positions[place] - start).tolist())
            for dataset, place, start in zip((self.real, self.generated), places, (0, len(self.real)))
            if len(place)
        ]
        if len(places[1]):
            parts[-1] = {**parts[-1], "index": parts[-1]["index"] + self.whole}
        return select(join(parts), torch.cat(places).argsort())


def _entries(dataset: Any) -> str:
    """What a data set's batches hold, in words."""
    batch = dataset.__getitems__([0])
    images = batch["inputs"]
    others = [key for key in batch if key not in ("inputs", "index")]
    kind = str(images.dtype).removeprefix("torch.")
    return f"{kind} {'x'.join(map(str, images.shape[1:]))} with {', '.join(others)}"


@SAMPLERS.register_module()
class MixedSampler(Sampler[int]):
    """Positions such that a fixed share of every batch is generated.

    A batch of B holds ``floor(fraction * B)`` generated images, drawn with replacement, and real ones in shuffled
    passes (each once a pass). An epoch is counted as in the source: ``ceil(whole / batch)`` steps, where ``whole``
    counts all real images, held-out ones included, and the batch is that of all processes. So with a fraction of 0.7 an
    epoch shows three in ten real images; the passes begin anew with each epoch.

    One sequence of batches is drawn from (seed, epoch) for all processes, of which process r of W takes every W-th, so
    the draw neither reads nor advances torch's global generator and a resumed run sees the same batches.

    Deviation: where a pass ends inside a batch, the next one begins; the source fills up with generated images.

    Args:
        dataset: a :class:`Mixed`.
        batch_size: images in a batch of each process.
        fraction: share of generated images, 0 <= fraction < 1; 0.7 in the source.
        seed: of the draw.

    Raises:
        ConfigError: no generated images, or a share out of range.

    Source: Wang et al., "Better Diffusion Models Further Improve Adversarial Training" (ICML 2023), DM-Improves-AT.
    """

    def __init__(self, dataset: Any, batch_size: int, *, fraction: float = 0.7, seed: int = 0) -> None:
        super().__init__()
        if not all(hasattr(dataset, part) for part in ("real", "generated", "whole")):  # also where it is on the device
            raise ConfigError("MixedSampler needs generated images beside the real ones: set data.generated")
        if not 0 <= fraction < 1 or batch_size < 1:
            raise ConfigError(f"MixedSampler needs 0 <= fraction < 1 and batch_size >= 1; got {fraction}, {batch_size}")
        # A product that is a whole number but for rounding counts as that number.
        self.generated = math.floor(fraction * batch_size + 1e-9)
        self.real = batch_size - self.generated
        self.dataset, self.batch_size, self.seed, self.epoch = dataset, batch_size, seed, 0
        self.rank, self.world_size = get_dist_info()
        self.batches = math.ceil(dataset.whole / (batch_size * self.world_size))

    def set_epoch(self, epoch: int) -> None:
        """Draw this epoch's batches from now on."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.batches * self.batch_size

    def __iter__(self) -> Iterator[int]:
        """Positions for this process, one batch after the other: real images first."""
        generator = torch.Generator().manual_seed((self.seed * 0x9E3779B97F4A7C15 + self.epoch) % (1 << 63))
        first, count = len(self.dataset.real), self.batches * self.world_size
        passes = math.ceil(count * self.real / first)
        order = torch.cat([torch.randperm(first, generator=generator) for _ in range(passes)])
        picks = first + torch.randint(len(self.dataset.generated), (count, self.generated), generator=generator)
        for batch in range(self.rank, count, self.world_size):
            yield from order[batch * self.real : (batch + 1) * self.real].tolist()
            yield from picks[batch].tolist()

    def notes(self) -> list[str]:
        """What an epoch shows."""
        return [
            f"a batch has {self.real} of {len(self.dataset.real)} real and {self.generated} of "
            f"{len(self.dataset.generated)} generated images; an epoch is {self.batches} steps"
        ]
