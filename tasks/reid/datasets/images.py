"""What re-identification sets are, wherever their images come from: training images, and a set to search in."""

from __future__ import annotations

import copy
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from natx.batch import Batch
from natx.data.base import BatchDataset, brief
from natx.data.images import decode_batch, read_rgb
from natx.data.split import Part
from natx.errors import ConfigError, DataError
from tasks.reid.datasets.layout import Shot


class ReIDImages(BatchDataset):
    """Images of persons of known identity and camera, decoded when read, resized to one size, uint8 RGB.

    The whole image is resized to ``height x width`` (Pillow bilinear, antialiased; the same pixels as torchvision's
    ``Resize((height, width))``). Greyscale, palette and CMYK images become RGB; EXIF orientation is ignored.

    Args:
        root: folder of the data set; the fingerprint takes paths from here.
        shots: the images in the order of the set.
        height: of the images in pixels.
        width: of the images in pixels.
        threads: decode a batch with this many threads; 0 decodes in the caller's.
        notes: remarks that belong in a report.

    Attributes:
        shots: path, identity and camera of every image.
        identities: identity of every image as in the file names, int64 ``[len]``.
        cameras: camera of every image as in the file names, int64 ``[len]``.
        notes: remarks that belong in a report, such as images left out.

    Raises:
        ConfigError: size or threads out of range.
        DataError: when an image is read: a broken image.
    """

    def __init__(
        self,
        root: Path,
        shots: Sequence[Shot],
        *,
        height: int,
        width: int,
        threads: int = 0,
        notes: Iterable[str] = (),
    ) -> None:
        if height < 1 or width < 1:
            raise ConfigError(f"images need height >= 1 and width >= 1; got height={height} and width={width}")
        if threads < 0:
            raise ConfigError(f"threads must be >= 0; got {threads}")
        self.root, self.shots, self.notes = root, list(shots), list(notes)
        self.height, self.width, self.threads = height, width, threads
        self.identities = torch.tensor([shot.identity for shot in self.shots], dtype=torch.int64)
        self.cameras = torch.tensor([shot.camera for shot in self.shots], dtype=torch.int64)

    def _decode(self, path: str) -> np.ndarray:
        """One image as uint8 [height, width, 3]."""
        return np.asarray(read_rgb(path).resize((self.width, self.height), Image.Resampling.BILINEAR))

    def _inputs(self, index: Tensor) -> Tensor:
        return decode_batch([self.shots[i].path for i in index.tolist()], self._decode, threads=self.threads)

    def _content(self) -> Iterator[bytes]:
        yield f"{self.height} x {self.width}\n".encode()
        rows = []
        for path, _, _ in self.shots:
            try:
                size = os.stat(path).st_size
            except OSError as error:
                raise DataError(f"cannot read {path} ({brief(error)}); do not change {self.root} in a run") from error
            rows.append(f"{Path(os.path.relpath(path, self.root)).as_posix()}\t{size}\n")
        yield from (row.encode("utf-8", "surrogateescape") for row in sorted(rows))


class TrainingImages(ReIDImages):
    """Training images: the identities are the classes. A batch is ``{inputs, data_samples (labels), index}``.

    Args:
        root: folder of the data set.
        shots: the images.
        **reading: ``height``, ``width``, ``threads`` and ``notes``, see :class:`ReIDImages`.

    Attributes:
        labels: class of every image, int64 ``[len]``: 0..C-1 in the order of the sorted identities.
        classes: the identities in label order, as text.

    Raises:
        DataError: fewer than 2 identities.
    """

    held_unit = "identities"  # what hold_out counts

    def __init__(self, root: Path, shots: Sequence[Shot], **reading: Any) -> None:
        super().__init__(root, shots, **reading)
        identities, self.labels = self.identities.unique(return_inverse=True)
        self.classes = tuple(str(identity) for identity in identities.tolist())
        if self.num_classes < 2:
            raise DataError(
                f"re-identification learns from at least 2 identities; the training images in {root} show "
                f"{self.num_classes}: add images or set another root"
            )

    @property
    def sorted_by_class(self) -> bool:
        """Images lie identity by identity: a subset must not be the first ones."""
        return True

    def hold_out(self, count: int, seed: int = 0) -> tuple[Part, RetrievalImages]:
        """Split into (training part, a set to search in), by ``count`` identities drawn from ``seed``.

        The training part keeps the class numbers of the whole set, so a model's head does not change. Of the
        held-out identities, the first image (by path) of each identity and camera is a query and the others are
        the gallery; an image stays in the gallery where a query would otherwise have none there from another
        camera, so an identity seen by one camera gives no query. ``index`` of every image stays its position in
        the whole set.

        Raises:
            ConfigError: fewer than 2 identities would be left for training, or no held-out one gives a query.
        """
        if not 1 <= count <= self.num_classes - 2:
            raise ConfigError(
                f"heldout={count} identities must be at least 1 and leave at least 2 of {self.num_classes} for training"
            )
        classes = torch.randperm(self.num_classes, generator=torch.Generator().manual_seed(seed))[:count]
        heldout = torch.isin(self.labels, classes)
        positions = heldout.nonzero().squeeze(1).tolist()
        queries = pick_queries([(i, self.shots[i]) for i in positions])
        if not queries:
            raise ConfigError(
                f"heldout={count}: none of the held-out identities is seen by two cameras, so they give no query; "
                "hold out more or set another heldout_seed"
            )
        in_gallery = set(positions) - set(queries)
        gallery = [i for i in positions if i in in_gallery]
        silent = count - len({self.shots[i].identity for i in queries})
        notes = [f"held-out identities that give no query, seen by one camera only: {silent} of {count}"]
        search = RetrievalImages(
            self.root,
            [self.shots[i] for i in queries],
            [self.shots[i] for i in gallery],
            index=[*queries, *gallery],
            height=self.height,
            width=self.width,
            threads=self.threads,
            notes=notes if silent else (),
        )
        return Part(self, (~heldout).nonzero().squeeze(1).tolist()), search


class RetrievalImages(ReIDImages):
    """Queries and the gallery to search for them: a test set. A batch is ``{inputs, index}``.

    A batch has no ``data_samples`` and the set no ``num_classes``, because its identities are no classes of a head.

    Args:
        root: folder of the data set.
        queries: images to search for; they come first in the set.
        gallery: images to search in; they follow.
        index: ``index`` of every image in a batch; its position by default.
        cameras_named: whether the cameras are known; else they only tell which images are one picture.
        distractor: identity that images of many people, and of nobody, share; None where each is a person's.
        **reading: ``height``, ``width``, ``threads`` and ``notes``, see :class:`ReIDImages`.

    Attributes:
        labels: identity of every image as in the file names, int64 ``[len]``.
        queries: positions of the queries that are judged, int64 ``[Q]``.
        probes: positions of all query images, which an attacker has as guides; more than ``queries`` in a subset.
        gallery: positions of the gallery, int64 ``[G]``.
        index: ``index`` of every image in a batch, int64 ``[len]``; not its position in a held-out set.
    """

    def __init__(
        self,
        root: Path,
        queries: Sequence[Shot],
        gallery: Sequence[Shot],
        *,
        index: Sequence[int] | None = None,
        cameras_named: bool = True,
        distractor: int | None = None,
        **reading: Any,
    ) -> None:
        super().__init__(root, [*queries, *gallery], **reading)
        self.cameras_named, self.distractor = cameras_named, distractor
        self.labels = self.identities
        self.queries = self.probes = torch.arange(len(queries))
        self.gallery = torch.arange(len(queries), len(self))
        self.index = torch.arange(len(self)) if index is None else torch.tensor(index, dtype=torch.int64)

    @property
    def num_classes(self) -> int:
        """Not there: raises AttributeError, so that ``getattr(dataset, 'num_classes', default)`` gives the default."""
        raise AttributeError("the identities of a re-identification test set are no classes: it has no num_classes")

    @property
    def attacked(self) -> Tensor:
        """Positions of the images that attacks may change: the queries, int64 ``[Q]``."""
        return self.queries

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """A batch ``{inputs [N, 3, H, W], index [N]}``; see :meth:`BatchDataset.__getitems__`."""
        batch = super().__getitems__(indices)
        return {"inputs": batch["inputs"], "index": self.index[batch["index"]]}

    def subset(self, count: int) -> RetrievalImages:
        """A view with ``count`` evenly spaced queries, the same on every machine; all else stays, guides included.

        Raises:
            ConfigError: a count that leaves no query or is too large.
        """
        total = len(self.queries)
        if not 1 <= count <= total:
            raise ConfigError(f"a subset of {count} queries of {total} is empty or too large")
        view = copy.copy(self)
        view.queries = self.queries[torch.arange(count) * total // count]
        return view


def pick_queries(images: Iterable[tuple[int, Shot]]) -> list[int]:
    """Which images (position, shot; in order) are queries: the first of each identity and camera, sorted.

    An image is not taken where a query would be left without an image of its identity from another camera.
    """
    sightings: dict[int, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for position, shot in images:
        sightings[shot.identity][shot.camera].append(position)
    return sorted(position for cameras in sightings.values() for position in _first_of_each(cameras))


def _first_of_each(cameras: dict[int, list[int]]) -> list[int]:
    """The first position of every camera that can give a query, for one identity."""
    counts = {camera: len(positions) for camera, positions in cameras.items()}
    queries: list[int] = []
    for camera in sorted(cameras):
        counts[camera] -= 1
        if all(any(n for other, n in counts.items() if other != query) for query in [*queries, camera]):
            queries.append(camera)
        else:
            counts[camera] += 1
    return [cameras[camera][0] for camera in queries]
