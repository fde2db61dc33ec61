"""Re-ranking by k-reciprocal neighbours (Zhong et al., CVPR 2017), in blocks.

Two images are near where each is among the other's nearest and they share such neighbours. Every image is encoded by
its k-reciprocal neighbours; the Jaccard distance of these encodings is added to the distance of the features.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.nn import functional as F

from natx.errors import ConfigError
from tasks.reid.ranking import Protocol, Ranking, nearest, ranked


@dataclass(frozen=True)
class KReciprocal:
    """The settings of a re-ranking; the defaults are those of the paper.

    Attributes:
        k1: nearest images that are looked at for reciprocal neighbours.
        k2: nearest images over which encodings are averaged; 1 averages none.
        weight: of the original distance beside the Jaccard distance, in [0,1] (the paper's lambda).

    Raises:
        ConfigError: a number out of range.
    """

    k1: int = 20
    k2: int = 6
    weight: float = 0.3

    def __post_init__(self) -> None:
        if self.k1 < 1 or not 1 <= self.k2 <= self.k1 + 1 or not 0 <= self.weight <= 1:
            raise ConfigError(
                "re-ranking needs k1 >= 1, 1 <= k2 <= k1 + 1 and 0 <= weight <= 1; "
                f"got k1={self.k1}, k2={self.k2} and weight={self.weight}"
            )

    def ranking(
        self, query: Tensor, gallery: Tensor, protocol: Protocol, *, distance: str, block: int = 256
    ) -> Ranking:
        """The ranking of a protocol's gallery by re-ranked distances, see :meth:`rows`; junk is nobody's neighbour.

        Args:
            query: features ``[Q, D]``, finite.
            gallery: features ``[G, D]`` on the same device, junk included.
            protocol: which images are right.
            distance: ``cosine`` compares features of length 1, ``euclidean`` features as they are.
            block: images at a time.
        """
        gallery = gallery[torch.from_numpy(protocol.usable).to(gallery.device)]
        rows = self.rows(query, gallery, normalise=distance == "cosine", block=block)
        return ranked(rows, protocol)

    def rows(self, query: Tensor, gallery: Tensor, *, normalise: bool, block: int = 256) -> Iterator[np.ndarray]:
        """Re-ranked distances ``[G]`` of one query after the other, all queries and gallery images as neighbours.

        As the paper's code: squared Euclidean distances, each row divided by its largest. Deviation: equal distances
        keep the order of the images (queries first).

        The distances of all N = Q + G images are never there at once: memory is one block of ``[block, N]`` distances,
        the ``k1 + 1`` nearest of every image, and its encoding, which has some hundred entries. Measured on as many
        images as Market-1501 has (19,281): 0.65 GB beside the features, where all distances alone take 1.5 GB; it grows
        with N and not with its square.

        Args:
            query: features ``[Q, D]``, finite.
            gallery: features ``[G, D]`` on the same device.
            normalise: compare features of length 1.
            block: images at a time.
        """
        features = torch.cat([query, gallery]).float()
        features = F.normalize(features, dim=1) if normalise else features
        near, largest = self._nearest(features, block)
        encodings = self._averaged(self._encodings(features, near, largest), near)
        # By neighbour: which gallery images have it in their encoding. The intersection of two encodings is the sum of
        # the smaller entries over the neighbours that both have.
        by_neighbour = encodings[len(query) :].tocsc()
        for start in range(0, len(query), block):
            stop = min(start + block, len(query))
            distances = _squared(features[start:stop], features[len(query) :]).cpu().numpy()
            for place in range(start, stop):
                common = _common(encodings[place], by_neighbour)
                original = distances[place - start] / largest[place]
                yield (1 - self.weight) * (1 - common / (2 - common)) + self.weight * original

    def _nearest(self, features: Tensor, block: int) -> tuple[np.ndarray, np.ndarray]:
        """The ``k1 + 1`` nearest of every image, itself included ``[N, k1 + 1]``, and its largest distance ``[N]``."""
        count = min(self.k1 + 1, len(features))
        near, largest = [], []
        for start in range(0, len(features), block):
            distances = _squared(features[start : start + block], features)
            largest.append(distances.amax(1).clamp_min(torch.finfo(distances.dtype).tiny).cpu())
            near += [nearest(row, count) for row in distances.cpu().numpy()]
        return np.stack(near), torch.cat(largest).numpy()

    def _encodings(self, features: Tensor, near: np.ndarray, largest: np.ndarray) -> csr_matrix:
        """Weights of every image's expanded k-reciprocal neighbours ``[N, N]``; a row sums to 1."""
        half = [frozenset(row.tolist()) for row in _reciprocal(near[:, : round(self.k1 / 2) + 1])]
        columns, weights = [], []
        for place, row in enumerate(_reciprocal(near)):
            neighbours = set(row.tolist())
            expanded = set(neighbours)
            for candidate in neighbours:
                if len(half[candidate] & neighbours) > 2 / 3 * len(half[candidate]):
                    expanded |= half[candidate]
            chosen = np.array(sorted(expanded), np.int32)
            squares = _squared(features[place : place + 1], features[torch.from_numpy(chosen).long()])[0].cpu().numpy()
            weight = np.exp(-squares / largest[place])
            columns.append(chosen)
            weights.append(weight / weight.sum())
        ends = np.cumsum([0, *map(len, columns)])
        return csr_matrix((np.concatenate(weights), np.concatenate(columns), ends), shape=(len(near), len(near)))

    def _averaged(self, encodings: csr_matrix, near: np.ndarray) -> csr_matrix:
        """Every encoding's mean over the ``k2`` nearest images."""
        count = min(self.k2, near.shape[1])
        if count == 1:
            return encodings
        ends = np.arange(len(near) + 1) * count
        mean = csr_matrix(
            (np.full(ends[-1], 1 / count, np.float32), near[:, :count].ravel(), ends), shape=encodings.shape
        )
        return mean @ encodings


def _squared(rows: Tensor, features: Tensor) -> Tensor:
    """Squared Euclidean distances ``[n, N]``."""
    products = rows @ features.T
    return (rows.square().sum(1, keepdim=True) + features.square().sum(1) - 2 * products).clamp_min(0)


def _reciprocal(near: np.ndarray) -> Iterator[np.ndarray]:
    """Of each image's nearest (``near`` ``[N, k]``) those that have it among their own nearest."""
    for place, neighbours in enumerate(near):
        yield neighbours[(near[neighbours] == place).any(1)]


def _common(encoding: csr_matrix, by_neighbour: csr_matrix) -> np.ndarray:
    """Sums of the smaller entries of one encoding and each gallery image's ``[G]``."""
    if not encoding.nnz:  # more equal images than k1: some are not among their own nearest
        return np.zeros(by_neighbour.shape[0])
    starts = by_neighbour.indptr
    spans = [slice(starts[column], starts[column + 1]) for column in encoding.indices]
    rows = np.concatenate([by_neighbour.indices[span] for span in spans])
    smaller = [np.minimum(value, by_neighbour.data[span]) for value, span in zip(encoding.data, spans)]
    return np.bincount(rows, np.concatenate(smaller), minlength=by_neighbour.shape[0])
