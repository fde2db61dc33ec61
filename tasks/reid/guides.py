"""Guides for training against a metric attack: other images of the same people beside every batch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import Dataset

from natx.batch import Batch
from natx.data import build_dataset, hold_out
from natx.errors import ConfigError
from natx.registry import DATASETS

GUIDES = "guides"  # a batch's entry


@DATASETS.register_module()
class WithGuides(Dataset):
    """A set whose batches also hold, for every image, others of the same identity: ``guides`` ``[N, count, C, H, W]``.

    They are drawn with replacement from all images of the identity, the image itself included, as CEA-LIST adv-reid
    does (``create_adv_batch``), and come as the set reads them, without augmentation. The draw depends on ``seed`` and
    on the images in the batch, so a resumed run sees the same guides and any number of loading processes may read
    them. Where identities are held out, those that are trained on keep their guides.

    Args:
        dataset: the images, or their config; has ``labels``, int64 ``[len]``.
        count: guides of an image.
        seed: of the draw.

    Raises:
        ConfigError: fewer than one guide.
    """

    drawn_entries = (GUIDES,)  # what a batch has for itself: no image keeps it

    def __init__(self, dataset: Any, count: int = 4, *, seed: int = 0) -> None:
        if count < 1:
            raise ConfigError(f"an image needs at least one guide; got count={count}")
        self.dataset, self.count, self.seed = build_dataset(dataset), count, seed
        self.labels = torch.as_tensor(self.dataset.labels)
        values, sizes = self.labels.unique(return_counts=True)
        self._positions = dict(zip(values.tolist(), self.labels.argsort(stable=True).split(sizes.tolist())))

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """A batch with its guides, see :mod:`natx.batch`."""
        batch = self.dataset.__getitems__(indices)
        digest = hashlib.sha256(f"{self.seed} {batch['index'].tolist()}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
        people = [self._positions[identity] for identity in self.labels[list(indices)].tolist()]
        chosen = [same[torch.randint(len(same), (self.count,), generator=generator)] for same in people]
        images = self.dataset.__getitems__(torch.cat(chosen).tolist())["inputs"]
        return {**batch, GUIDES: images.unflatten(0, (len(people), self.count))}

    def hold_out(self, count: int, *, seed: int = 0) -> tuple[WithGuides, Any]:
        """See :func:`natx.data.hold_out`: the training part with guides of its own images, and the held-out part."""
        rest, held = hold_out(self.dataset, count, seed=seed)
        return WithGuides(rest, self.count, seed=self.seed), held

    def __getattr__(self, name: str) -> Any:
        if name == "dataset":
            raise AttributeError(name)
        return getattr(self.dataset, name)
