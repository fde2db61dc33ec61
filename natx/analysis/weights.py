"""Distances between the weights of the class layer: Eqs. 11 and 12."""

from __future__ import annotations

import torch
from torch import Tensor

EQ13 = (
    "Eq. 13 is not computed: as printed it multiplies two vectors where Eq. 12 has a dot product, and its sign makes "
    "it the length of a sum, not of a difference. Fig. 4 calls Eq. 12 symmetric, which it is not (d_j is computed and "
    "never used): the mean of both directions is drawn. Neither is a distance between boundaries: two lines through "
    "the origin meet, and so do two hyperplanes that are not parallel"
)


def weight_distances(weight: Tensor) -> Tensor:
    """Eq. 11: ``||w_j - w_i||``, ``[C, C]`` in float64 from weights ``[C, D]``; symmetric, zero diagonal."""
    w = weight.double()
    return torch.stack([(w - row).norm(dim=1) for row in w])


def shortest_distances(weight: Tensor) -> Tensor:
    """Eq. 12 as printed, entry (i, j) ``||g - (g . d_i) d_i||`` with ``g = w_j - w_i``, ``d_i = w_i / ||w_i||``.

    It equals ``||w_j|| |sin(angle of w_i and w_j)|``: the distance of the tip of w_j from the line along w_i. Not
    symmetric; see :func:`symmetrised`. ``[C, C]`` in float64 from weights ``[C, D]``; a row is NaN where w_i is zero.
    """
    w, rows = weight.double(), []
    for row in w:
        direction, difference = row / row.norm(), w - row
        rows.append((difference - (difference @ direction)[:, None] * direction).norm(dim=1))
    return torch.stack(rows)


def symmetrised(distances: Tensor) -> Tensor:
    """The mean of both directions of a square matrix."""
    return (distances + distances.T) / 2


def angles(weight: Tensor) -> Tensor:
    """Angles between the weights in degrees, ``[C, C]`` in float64; NaN where a weight is zero.

    From half the angle by ``2 atan2(||u - v||, ||u + v||)`` of the unit vectors, which stays exact near 0 and 180
    degrees, where the arc cosine does not.
    """
    w = weight.double()
    unit = w / w.norm(dim=1, keepdim=True)
    rows = [torch.atan2((unit - row).norm(dim=1), (unit + row).norm(dim=1)) for row in unit]
    return torch.rad2deg(2 * torch.stack(rows))


def off_diagonal_mean(matrix: Tensor) -> float:
    """Mean of a square matrix without its diagonal."""
    return float(matrix[~torch.eye(len(matrix), dtype=torch.bool, device=matrix.device)].mean())
