"""Batches of a few identities with a few images each, as the triplet loss needs them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from mmengine.dist import get_dist_info
from torch import Tensor
from torch.utils.data import Sampler

from natx.errors import ConfigError
from natx.registry import SAMPLERS


@SAMPLERS.register_module()
class IdentitySampler(Sampler[int]):
    """Positions such that every batch of a process holds ``batch_size / instances`` identities, ``instances`` each.

    Identities come in shuffled passes (each once a pass, none twice in a batch), and so do the images of an identity;
    an identity with fewer images than ``instances`` repeats them. One sequence of batches is drawn from (seed, epoch)
    for all processes, of which process r of W takes every W-th batch, so the draw neither reads nor advances torch's
    global generator and a resumed run sees the same batches.

    An epoch has as many batches as fit into the set once, ``N // (batch_size * W)`` but at least one.

    Args:
        dataset: training images with ``labels``, int64 ``[N]``; parts of a set too.
        batch_size: images in a batch of each process.
        instances: images of an identity in a batch.
        seed: of the draw.

    Raises:
        ConfigError: a batch that is not made of whole identities, or of more identities than there are.

    Source: Hermans et al., "In Defense of the Triplet Loss for Person Re-Identification" (arXiv 1703.07737).
    """

    def __init__(self, dataset: Any, batch_size: int, *, instances: int = 4, seed: int = 0) -> None:
        super().__init__()
        labels = getattr(dataset, "labels", None)
        if labels is None:
            raise ConfigError(f"IdentitySampler needs a data set with labels; {type(dataset).__name__} has none")
        if batch_size < 1 or instances < 1 or batch_size % instances:
            raise ConfigError(
                f"batch_size must be a multiple of instances (images of an identity in a batch); got "
                f"batch_size={batch_size} and instances={instances}"
            )
        self.batch_size, self.instances, self.seed, self.epoch = batch_size, instances, seed, 0
        self.rank, self.world_size = get_dist_info()
        self.labels, self._images = _positions_by_label(torch.as_tensor(labels))
        self._names: Sequence[str] | None = getattr(dataset, "classes", None)
        if len(self.labels) < self.identities:
            raise ConfigError(
                f"a batch of {batch_size} with instances={instances} needs {self.identities} identities; the training "
                f"set has {len(self.labels)}: lower batch_size or raise instances"
            )
        self.batches = max(1, len(labels) // (batch_size * self.world_size))

    @property
    def identities(self) -> int:
        """Number of identities in a batch."""
        return self.batch_size // self.instances

    def set_epoch(self, epoch: int) -> None:
        """Draw this epoch's batches from now on."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.batches * self.batch_size

    def __iter__(self) -> Iterator[int]:
        """Positions for this process, one batch after the other."""
        generator = torch.Generator().manual_seed((self.seed * 0x9E3779B97F4A7C15 + self.epoch) % (1 << 63))
        people = _Deck(range(len(self.labels)), generator)
        decks = [_Deck(images, generator) for images in self._images]
        for batch in range(self.batches * self.world_size):
            positions = [i for person in people.deal(self.identities) for i in decks[person].deal(self.instances)]
            if batch % self.world_size == self.rank:
                yield from positions

    def notes(self) -> list[str]:
        """Remarks on identities with fewer images than ``instances``."""
        few = [len(images) for images in self._images if len(images) < self.instances]
        if not few:
            return []
        text = (
            f"{len(few)} of {len(self.labels)} identities {'has' if len(few) == 1 else 'have'} fewer than "
            f"{self.instances} images: {'its images' if len(few) == 1 else 'theirs'} are repeated in a batch"
        )
        alone = [self._name(label) for label, images in zip(self.labels, self._images) if len(images) == 1]
        if alone:
            more = f" and {len(alone) - 3} more" if len(alone) > 3 else ""
            text += (
                f"; {len(alone)} {'has' if len(alone) == 1 else 'have'} a single image and "
                f"{'gives' if len(alone) == 1 else 'give'} the triplet loss no positive pair "
                f"({'identity' if len(alone) == 1 else 'identities'} {', '.join(alone[:3])}{more})"
            )
        return [text]

    def _name(self, label: int) -> str:
        return str(label) if self._names is None else self._names[label]


def _positions_by_label(labels: Tensor) -> tuple[list[int], list[list[int]]]:
    """The labels that occur, sorted, and the positions of each."""
    values, counts = labels.unique(return_counts=True)
    return values.tolist(), [part.tolist() for part in labels.argsort(stable=True).split(counts.tolist())]


class _Deck:
    """Items dealt in shuffled passes: each once a pass, and none twice in a hand that is no larger than the deck."""

    def __init__(self, items: Sequence[int], generator: torch.Generator) -> None:
        self._items, self._generator = items, generator
        self._undealt: list[int] = []

    def deal(self, count: int) -> list[int]:
        """The next ``count`` items; a hand larger than the deck has every item before it repeats one."""
        hand: list[int] = []
        while len(hand) < count:
            barred = set(hand[len(hand) - len(hand) % len(self._items) :])
            place = next((i for i, item in enumerate(self._undealt) if item not in barred), None)
            if place is None:
                order = torch.randperm(len(self._items), generator=self._generator).tolist()
                self._undealt += [self._items[i] for i in order]
            else:
                hand.append(self._undealt.pop(place))
        return hand
