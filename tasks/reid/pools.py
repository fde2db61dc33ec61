"""Clean embeddings of a set that metric attacks push from or pull to, summed up by identity."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from natx.errors import ConfigError
from natx.expect import expect


@dataclass
class Pool:
    """Guides of a set, summed up by identity.

    Attributes:
        identities: identity of each row, rising, ``[I]``.
        means: mean embedding of each identity ``[I, D]``.
        counts: guides of each identity ``[I]``.
    """

    identities: Tensor
    means: Tensor
    counts: Tensor

    @classmethod
    def of(cls, embeddings: Tensor, identities: Tensor) -> Pool:
        """Summed up from embeddings ``[G, D]`` and their identities ``[G]``."""
        unique, row, counts = identities.unique(return_inverse=True, return_counts=True)
        sums = embeddings.new_zeros(len(unique), embeddings.shape[1]).index_add(0, row, embeddings)
        return cls(unique, sums / counts[:, None], counts)

    @classmethod
    def of_batch(cls, embeddings: Tensor, identities: Tensor) -> Pool:
        """The same for a training batch, with a row for each image: the device need not say how many identities it has.

        Rows beyond the identities have no guides and an identity above all others.
        """
        ordered, order = identities.sort(stable=True)
        row = torch.cat([ordered.new_zeros(1), (ordered[1:] != ordered[:-1]).long().cumsum(0)])  # of sorted images
        counts = torch.zeros_like(ordered).index_add(0, row, torch.ones_like(ordered))
        sums = torch.zeros_like(embeddings).index_add(0, row, embeddings[order])
        unique = torch.full_like(ordered, torch.iinfo(ordered.dtype).max).scatter(0, row, ordered)
        return cls(unique, sums / counts.clamp_min(1)[:, None], counts)

    def of_identity(self, identities: Tensor) -> tuple[Tensor, Tensor]:
        """Mean ``[N, D]`` and number ``[N]`` of the guides of the same identity (zeros where there is none)."""
        row = torch.searchsorted(self.identities, identities).clamp_max(len(self.identities) - 1)
        present = self.identities[row] == identities
        return self.means[row] * present[:, None], self.counts[row] * present

    def other(self, embeddings: Tensor, identities: Tensor, *, nearest: bool = False) -> Tensor:
        """Mean ``[N, D]`` of the other identity whose mean is the furthest from, or nearest to, each embedding.

        Raises:
            ConfigError: there is no other identity.
        """
        distances = torch.cdist(embeddings, self.means) * (-1 if nearest else 1)
        distances[(identities[:, None] == self.identities[None]) | (self.counts == 0)] = -torch.inf
        far, row = distances.max(1)
        expect(~torch.isinf(far).any(), _one_identity)
        return self.means[row]


def _one_identity() -> ConfigError:
    return ConfigError("FNA and TMA pull to another identity and the guides have only one: use more identities")


@dataclass
class CleanSet:
    """A set's clean embeddings, and the guides taken from them.

    Attributes:
        embeddings: of every image ``[N, D]``, as distances are measured on them.
        identities: of every image, int64 ``[N]``.
        guiding: whether an image is among the guides, bool ``[N]``.
        rows: position of an image in the set, by the ``index`` that batches give it.
        pool: the guides.
    """

    embeddings: Tensor
    identities: Tensor
    guiding: Tensor
    rows: dict[int, int]
    pool: Pool
