"""Ranking of gallery images by distance: the single-query protocol of Market-1501, in blocks of queries.

A gallery image of the query's identity from another camera is right. One from the query's own camera is left out for
that query, identity -1 (junk detections) is left out for all, every other one (identity 0, a distractor, too) is wrong.
Source: L. Zheng et al., "Scalable Person Re-identification: A Benchmark", ICCV 2015.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from natx.errors import ConfigError, DataError
from natx.runtime.precision import full_precision

JUNK = -1  # identity of gallery images that the protocol ignores
DISTANCES = ("cosine", "euclidean")
KS = (1, 5, 10)
# Up to so many right images, a pass over the row for each is cheaper than sorting the row once: on 15,913 distances a
# pass took 3 us, a sort 270 us and an argsort 600 us; the sort gains more than the pass from wider registers.
COUNTED = 32
LEAST_ROWS = 16


@dataclass(frozen=True)
class Ranking:
    """How well each query's identity was found in the gallery.

    Attributes:
        precision: average precision of every query, in [0,1], float64 ``[Q]``; NaN where the gallery has no match.
        first: rank of the first right image, from 1, int64 ``[Q]``; 0 where the gallery has no match.
        hardest: number of right images by the rank of the last one, in [0,1], float64 ``[Q]``, the inverse negative
            penalty; NaN where the gallery has no match.
        best: positions of the nearest gallery images, nearest first, int64 ``[Q, top]``; -1 where there are fewer.
        ks: the ranks of the CMC.
    """

    precision: np.ndarray
    first: np.ndarray
    hardest: np.ndarray
    best: np.ndarray
    ks: tuple[int, ...] = KS

    @property
    def matched(self) -> np.ndarray:
        """Which queries have a right image in the gallery, bool ``[Q]``; the others count in no mean."""
        return self.first > 0

    @property
    def excluded(self) -> int:
        """Number of queries without a right image in the gallery."""
        return int((~self.matched).sum())

    def values(self) -> dict[str, float]:
        """``mAP``, ``Rank-k`` for each k and ``mINP``, in percent, over the queries that have a match.

        mINP is the mean of :attr:`hardest` (Ye et al., "Deep Learning for Person Re-identification: A Survey and
        Outlook", TPAMI 2021): how much of the ranking it takes to have every right image.

        Raises:
            DataError: no query has one.
        """
        matched = self.matched
        if not matched.any():
            raise no_match(len(matched))
        first = self.first[matched]
        values = {"mAP": 100 * float(self.precision[matched].mean())}
        values |= {f"Rank-{k}": 100 * float((first <= k).mean()) for k in self.ks}
        return values | {"mINP": 100 * float(self.hardest[matched].mean())}


class Protocol:
    """Which gallery images are right for a query, and which are left out.

    Args:
        query_ids: identity of each query, integers ``[Q]`` (tensor, array or list).
        query_cameras: camera of each query, likewise.
        gallery_ids: identity of each gallery image, integers ``[G]``.
        gallery_cameras: camera of each gallery image, likewise.

    Attributes:
        usable: gallery positions that are no junk, ascending, int64; :meth:`split` counts in these.

    Raises:
        DataError: identities and cameras of different number, or nothing to rank.
    """

    def __init__(self, *, query_ids: Any, query_cameras: Any, gallery_ids: Any, gallery_cameras: Any) -> None:
        self.query_ids, self.query_cameras = _labels("query", query_ids, query_cameras)
        ids, cameras = _labels("gallery", gallery_ids, gallery_cameras)
        self.gallery = len(ids)
        self.usable = np.flatnonzero(ids != JUNK)
        if not len(self.query_ids) or not len(self.usable):
            raise DataError(
                f"{len(self.query_ids)} queries and {len(self.usable)} gallery images (without junk): nothing to rank"
            )
        ids, self._cameras = ids[self.usable], cameras[self.usable]
        self._order = np.argsort(ids, kind="stable")
        ordered = ids[self._order]
        self._start = ordered.searchsorted(self.query_ids, side="left")
        self._end = ordered.searchsorted(self.query_ids, side="right")

    def __len__(self) -> int:
        return len(self.query_ids)

    def split(self, query: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions (in ``usable``, ascending) of the right images and of those left out for one query."""
        person = self._order[self._start[query] : self._end[query]]
        same_camera = self._cameras[person] == self.query_cameras[query]
        return person[~same_camera], person[same_camera]

    def counts(self) -> tuple[np.ndarray, np.ndarray]:
        """How many right images a query has in the gallery, and how many images it ranks; int64 ``[Q]`` each."""
        sizes = np.array([[len(part) for part in self.split(query)] for query in range(len(self))])
        return sizes[:, 0], len(self.usable) - sizes[:, 1]

    def matched(self) -> np.ndarray:
        """Which queries have a right image in the gallery, bool ``[Q]``."""
        return self.counts()[0] > 0


def rank(
    distances: Tensor | np.ndarray,
    *,
    query_ids: Any,
    query_cameras: Any,
    gallery_ids: Any,
    gallery_cameras: Any,
    ks: Sequence[int] = KS,
    top: int = 0,
) -> Ranking:
    """Rank the gallery for every query by given distances.

    Equal distances keep the order of the gallery, as a stable sort does, so a model that gives every image the same
    features scores no better than the order of the files.

    Args:
        distances: ``[Q, G]``, smaller is nearer; not changed.
        query_ids: identities, integers ``[Q]``.
        query_cameras: cameras, integers ``[Q]``.
        gallery_ids: identities, integers ``[G]``; -1 is ignored.
        gallery_cameras: cameras, integers ``[G]``.
        ks: ranks of the CMC.
        top: how many of the nearest gallery images to name (without those left out).

    Raises:
        DataError: shapes that do not fit, or a distance that is NaN or infinite.
    """
    protocol = Protocol(
        query_ids=query_ids, query_cameras=query_cameras, gallery_ids=gallery_ids, gallery_cameras=gallery_cameras
    )
    block = full_precision(torch.as_tensor(distances)).detach().cpu().numpy()
    if block.shape != (len(protocol), protocol.gallery):
        raise DataError(
            f"distances must be [queries, gallery] = [{len(protocol)}, {protocol.gallery}]; got {list(block.shape)}"
        )
    if len(protocol.usable) < protocol.gallery:
        block = block[:, protocol.usable]
    return ranked(block, protocol, ks=ks, top=top)


def retrieve(
    query_features: Tensor,
    gallery_features: Tensor,
    *,
    query_ids: Any,
    query_cameras: Any,
    gallery_ids: Any,
    gallery_cameras: Any,
    distance: str = "cosine",
    block: int = 256,
    ks: Sequence[int] = KS,
    top: int = 0,
) -> Ranking:
    """Rank the gallery for every query by the distance of features, ``block`` queries at a time.

    Needs memory for about three blocks of ``[block, G]`` distances (a block has at least 16 rows) and, for the cosine,
    the normalised features. Distances are computed in float32 where the features are and ranked on the CPU.

    Args:
        query_features: ``[Q, D]``, on any device.
        gallery_features: ``[G, D]``, on the same device.
        query_ids: identities, integers ``[Q]``.
        query_cameras: cameras, integers ``[Q]``.
        gallery_ids: identities, integers ``[G]``; -1 is ignored.
        gallery_cameras: cameras, integers ``[G]``.
        distance: ``cosine`` (one minus the product of the normalised features) or ``euclidean`` (squared).
        block: queries at a time.
        ks: ranks of the CMC.
        top: how many of the nearest gallery images to name (without those left out).

    Raises:
        ConfigError: an unknown distance or a block below 1.
        DataError: shapes that do not fit, or features that are NaN, infinite or too large for float32 distances.
    """
    check_settings(distance, block)
    protocol = Protocol(
        query_ids=query_ids, query_cameras=query_cameras, gallery_ids=gallery_ids, gallery_cameras=gallery_cameras
    )
    shapes, width = (query_features.shape, gallery_features.shape), query_features.shape[-1]
    if shapes != ((len(protocol), width), (protocol.gallery, width)):
        raise DataError(
            f"features must be [{len(protocol)}, D] of the queries and [{protocol.gallery}, D] of the gallery; "
            f"got {list(shapes[0])} and {list(shapes[1])}"
        )
    if len(protocol.usable) < protocol.gallery:
        gallery_features = gallery_features[torch.from_numpy(protocol.usable).to(gallery_features.device)]
    with torch.no_grad(), torch.autocast(query_features.device.type, enabled=False):
        rows = _rows(query_features.float(), gallery_features.float(), distance=distance, block=block)
        return ranked(rows, protocol, ks=ks, top=top)


def check_settings(distance: str, block: int) -> None:
    """Raise ConfigError for an unknown distance or a block below 1."""
    if distance not in DISTANCES:
        raise ConfigError(f"distance must be one of {', '.join(DISTANCES)}; got {distance!r}")
    if block < 1:
        raise ConfigError(f"block must be at least 1 query; got {block}")


def _rows(query: Tensor, gallery: Tensor, *, distance: str, block: int) -> Iterator[np.ndarray]:
    """Distances ``[G]`` of one query after the other, computed for ``block`` queries at a time."""
    for side, features in (("query", query), ("gallery", gallery)):
        bad = ~features.norm(dim=1).isfinite()  # one reduction finds NaN, infinity and sums of squares that overflow
        if bool(bad.any()):
            raise DataError(
                f"{int(bad.sum())} of {len(bad)} {side} features are NaN, infinite or too large: the model has no "
                "usable output; check the checkpoint"
            )
    if distance == "cosine":
        query, gallery = F.normalize(query, dim=1), F.normalize(gallery, dim=1)
    else:
        squares = gallery.square().sum(1)
    for start in range(0, len(query), block):
        part = query[start : start + block]
        count = len(part)
        # A product of very few rows takes another routine, in which equal features need not give equal distances: with
        # 1 to 3 rows a model whose features are all the same got ranks by rounding, not by the gallery's order.
        part = F.pad(part, (0, 0, 0, max(0, LEAST_ROWS - count)))
        if distance == "cosine":
            distances = 1 - part @ gallery.T
        else:
            distances = (part.square().sum(1, keepdim=True) + squares).addmm_(part, gallery.T, alpha=-2)
        yield from distances[:count].cpu().numpy()


def ranked(rows: Iterable[np.ndarray], protocol: Protocol, *, ks: Sequence[int] = KS, top: int = 0) -> Ranking:
    """Rank rows of distances (one a query, without junk) as they come; see :func:`rank`."""
    count = len(protocol)
    precision, hardest, first = np.full(count, np.nan), np.full(count, np.nan), np.zeros(count, np.int64)
    best = np.full((count, top), -1)
    for query, distances in enumerate(rows):
        if not (distances.min() > -np.inf and distances.max() < np.inf):  # NaN fails too
            raise DataError(f"a distance of query {query} is NaN or infinite: the model has no usable output")
        right, out = protocol.split(query)
        row = distances.copy()
        row[out] = np.inf
        if top:
            near = nearest(row, top)
            best[query, : len(near)] = protocol.usable[near]
        if len(right):
            ranks = np.sort(_ranks(row, right))
            precision[query] = (np.arange(1, len(ranks) + 1) / ranks).mean()
            first[query], hardest[query] = ranks[0], len(ranks) / ranks[-1]
    return Ranking(precision=precision, first=first, hardest=hardest, best=best, ks=tuple(ks))


def _ranks(row: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Places, from 1, that a stable sort of ``row`` [G] gives to some positions, int64."""
    if len(positions) <= COUNTED:
        return np.array([_rank(row, position) for position in positions])
    values, ordered = row[positions], np.sort(row)
    ranks = ordered.searchsorted(values, side="left") + 1
    for i in np.flatnonzero(ordered.searchsorted(values, side="right") > ranks):
        ranks[i] = _rank(row, positions[i])
    return ranks


def _rank(row: np.ndarray, position: int) -> int:
    """Place, from 1, that a stable sort gives to one position: an equal value before it comes first."""
    value = row[position]
    return 1 + int(np.count_nonzero(row[:position] <= value)) + int(np.count_nonzero(row[position:] < value))


def nearest(row: np.ndarray, top: int) -> np.ndarray:
    """Positions of the ``top`` smallest finite values (or all, if fewer), in the order of a stable sort."""
    top = min(top, len(row))
    near = np.flatnonzero(row <= np.partition(row, top - 1)[top - 1])  # ascending, with all that equal the last one
    near = near[np.argsort(row[near], kind="stable")[:top]]
    return near[row[near] < np.inf]


def no_match(queries: int) -> DataError:
    """Why a set without any right image cannot be judged."""
    return DataError(
        f"none of {queries} queries has an image of its identity from another camera in the gallery: there is nothing "
        "to rank; check the data set's folders"
    )


def _array(values: Any) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def _labels(side: str, ids: Any, cameras: Any) -> tuple[np.ndarray, np.ndarray]:
    ids, cameras = _array(ids), _array(cameras)
    if ids.ndim != 1 or ids.shape != cameras.shape:
        raise DataError(
            f"{side} identities and cameras must be one number an image; got {list(ids.shape)} identities "
            f"and {list(cameras.shape)} cameras"
        )
    return ids, cameras
