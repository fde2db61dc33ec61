"""Predictions of a set: a tensor ``[N, ...]``, or a list with one entry an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.dist import all_gather_object, get_dist_info
from torch import Tensor

Parts = list[tuple[list[int], Any]]


def gathered(parts: Parts, *, order: Sequence[int] | None = None) -> Any:
    """Values of all processes' images together, the same on every process.

    Args:
        parts: this process's blocks: the images' positions and their values.
        order: the positions in the order wanted; ascending by default.
    """
    if get_dist_info()[1] > 1:
        parts = [part for process in all_gather_object(parts) for part in process]
    parts = [part for part in parts if part[0]]
    at = [position for block, _ in parts for position in block]
    row = {position: i for i, position in enumerate(at)}
    wanted = [row[position] for position in (sorted(at) if order is None else order)]
    if parts and isinstance(parts[0][1], Tensor):
        return torch.cat([values for _, values in parts])[wanted]
    values = [value for _, block in parts for value in block]
    return [values[i] for i in wanted]


def taken(predictions: Any, positions: Sequence[int]) -> Any:
    """The predictions of some images."""
    return predictions[list(positions)] if isinstance(predictions, Tensor) else [predictions[i] for i in positions]


def replaced(predictions: Any, positions: Sequence[int], changed: Any) -> Any:
    """The set's predictions with those of some images replaced."""
    if isinstance(predictions, Tensor):
        return predictions.index_copy(0, torch.tensor(positions, dtype=torch.int64), changed)
    result = list(predictions)
    for position, value in zip(positions, changed):
        result[position] = value
    return result


def chosen(columns: Sequence[Any], choice: Sequence[int]) -> Any:
    """The predictions of every image from the column that is chosen for it.

    Args:
        columns: the set's predictions, by column.
        choice: the number of a column for each image.
    """
    rows = [columns[column][image] for image, column in enumerate(choice)]
    return torch.stack(rows) if isinstance(columns[0], Tensor) else rows
