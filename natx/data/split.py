"""Parts of a data set: a held-out split for choosing checkpoints, and subsets for quick evaluations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from natx.batch import Batch
from natx.errors import ConfigError

WHOLE = ("hold_out", "subset")  # what a set divides itself by


class Part(Dataset):
    """Some images of a data set, in the given order; ``index`` stays the position in the whole set.

    Keeping the index means that an image's random start is the same in a subset as in the full evaluation. What else
    the set has is the part's too, its fingerprint among it; a set that divides itself (identities) is divided first.
    """

    def __init__(self, dataset: Any, positions: Sequence[int]) -> None:
        self.dataset, self.positions = dataset, list(positions)

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def index(self) -> Tensor:
        """``index`` of every image in a batch, int64 ``[len]``."""
        positions, index = torch.tensor(self.positions, dtype=torch.long), getattr(self.dataset, "index", None)
        return positions if index is None else torch.as_tensor(index)[positions]

    def with_classes(self, classes: Sequence[str]) -> Part:
        """The same images with other labels, see :meth:`natx.data.base.BatchDataset.with_classes`."""
        return Part(self.dataset.with_classes(classes), self.positions)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """A batch, see :mod:`natx.batch`."""
        return self.dataset.__getitems__([self.positions[i] for i in indices])

    def __getattr__(self, name: str) -> Any:
        if name in ("dataset", "positions"):
            raise AttributeError(name)
        value = getattr(self.dataset, name)
        if name in WHOLE:
            raise ConfigError(
                f"a part of {type(self.dataset).__name__} cannot be divided further, as its {name} is of the whole "
                "set: divide that"
            )
        if name == "for_evaluation":
            return partial(self._shown, value)
        return value[torch.tensor(self.positions, dtype=torch.long)] if name == "labels" else value

    def _shown(self, for_evaluation: Callable[[], Any]) -> Part:
        """The same images as an evaluation reads them."""
        return Part(for_evaluation(), self.positions)


def hold_out(dataset: Any, count: int, *, seed: int = 0) -> tuple[Part, Part]:
    """Split into (training part, held-out part of ``count`` images), drawn once from ``seed`` and balanced by label.

    The held-out part shows its images as an evaluation does, where the data set tells the two apart
    (``for_evaluation``). The draw uses its own generator and the labels only, so it is the same on every machine and
    for every run of a seed. Raises ConfigError where ``count`` does not leave images on both sides.
    """
    if hasattr(dataset, "hold_out"):  # a set that must not be split image by image (identities)
        return dataset.hold_out(count, seed=seed)
    total = len(dataset)
    if not 0 < count < total:
        raise ConfigError(f"heldout={count} must leave images on both sides of a training set of {total}")
    order = torch.randperm(total, generator=torch.Generator().manual_seed(seed))
    labels = getattr(dataset, "labels", None)
    if labels is not None:
        # Deal the shuffled images out class by class: the rank of an image within its class decides the order.
        shuffled = labels[order]
        rank = torch.empty_like(shuffled)
        for value in shuffled.unique():
            mask = shuffled == value
            rank[mask] = torch.arange(int(mask.sum()))
        order = order[torch.argsort(rank, stable=True)]
    held = sorted(order[:count].tolist())
    excluded = set(held)
    view = dataset.for_evaluation() if hasattr(dataset, "for_evaluation") else dataset
    return Part(dataset, [i for i in range(total) if i not in excluded]), Part(view, held)


def subset(dataset: Any, count: int | None) -> Any:
    """``count`` images (all for None), the same on every machine.

    The first ones, as is usual for CIFAR; evenly spaced ones where the data set says that it is ``sorted_by_class``
    (folders), because its first images would be those of a few classes. A set with a ``subset`` method says itself what
    a part of it is (some queries and the whole gallery). Raises ConfigError for a count that leaves
    none or is too large.
    """
    if count is None:
        return dataset
    if hasattr(dataset, "subset"):
        return dataset.subset(count)
    if not 0 < count <= len(dataset):
        raise ConfigError(f"a subset of {count} images of {len(dataset)} is empty or too large")
    return Part(dataset, some_positions(dataset, count))


def some_positions(dataset: Any, count: int, *, among: Sequence[int] | None = None) -> list[int]:
    """The positions of ``count`` images at most: the first, or evenly spaced ones of a set that is sorted by class.

    Args:
        dataset: the images.
        count: how many.
        among: the positions to choose from, in order; all by default.
    """
    among = range(len(dataset)) if among is None else among
    count = min(count, len(among))
    spaced = getattr(dataset, "sorted_by_class", False)
    return [among[i * len(among) // count if spaced else i] for i in range(count)]
