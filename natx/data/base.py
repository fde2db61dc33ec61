"""What the data sets share: labels, class names, batches by position, a fingerprint."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset


def brief(error: BaseException) -> str:
    """The text of an error as one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


class BatchDataset(Dataset):
    """What the data sets share: labels, class names and batches by position.

    Attributes:
        labels: class of every image, int64 ``[len]``; available without reading images.
        classes: class names in label order.
    """

    labels: Tensor
    classes: tuple[str, ...]
    _digest: str | None = None

    @property
    def files(self) -> Sequence[str]:
        """The file of every image, in order; empty where images have none of their own."""
        return ()

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)

    def with_classes(self, classes: Sequence[str]) -> BatchDataset:
        """The same images and fingerprint, with labels that number ``classes``, which have all of the set's own."""
        place = {name: label for label, name in enumerate(classes)}
        view = copy.copy(self)
        view.labels = torch.tensor([place[name] for name in self.classes])[self.labels]
        view.classes, view._digest = tuple(classes), self.fingerprint()
        return view

    def __len__(self) -> int:
        return self.labels.shape[0]

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        """A batch of one; IndexError past the end."""
        return self.__getitems__([i])

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """A batch in the order of ``indices`` (negative ones count from the end).

        Returns:
            ``inputs`` [N, C, H, W], ``data_samples`` (labels) int64 [N], ``index`` (positions) int64 [N].

        Raises:
            IndexError: an index out of range.
            DataError: an image that cannot be read.
        """
        index = torch.as_tensor(indices, dtype=torch.int64).reshape(-1)
        index = torch.where(index < 0, index + len(self), index)
        if index.numel() and not 0 <= int(index.min()) <= int(index.max()) < len(self):
            raise IndexError(f"{type(self).__name__} has {len(self)} images; got the indices {list(indices)}")
        return {"inputs": self._inputs(index), "data_samples": self.labels[index], "index": index}

    def fingerprint(self) -> str:
        """Hex SHA-256 that identifies the content; computed once."""
        if self._digest is None:
            digest = hashlib.sha256()
            for chunk in self._content():
                digest.update(chunk)
            self._digest = digest.hexdigest()
        return self._digest

    def _inputs(self, index: Tensor) -> Tensor:
        raise NotImplementedError

    def _content(self) -> Iterable[Any]:
        """Bytes-like chunks that the fingerprint covers."""
        raise NotImplementedError


class InMemory(BatchDataset):
    """A data set whose images are one tensor ``images`` [len, C, H, W]."""

    def hashes(self) -> list[bytes]:
        """What tells the pixels of each image from others, in order."""
        return [hashlib.blake2b(image.numpy().data, digest_size=16).digest() for image in self.images]

    def __init__(self, images: Tensor, labels: Tensor, *, classes: Sequence[str]) -> None:
        self.images = images.contiguous()
        self.labels = labels.to(torch.int64)
        self.classes = tuple(classes)

    def _inputs(self, index: Tensor) -> Tensor:
        return self.images[index]

    def _content(self) -> Iterable[Any]:
        yield f"{self.images.dtype} {list(self.images.shape)}".encode()
        yield self.labels.numpy().data
        yield self.images.numpy().data
