"""Images and labels from whatever holds them: tensors, arrays, a loader, a data set of natx's or of torch's kind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from natx.errors import DataError

# What batches that are dicts call theirs: natx's own names, and those of Hugging Face's and other collections.
INPUTS = ("inputs", "pixel_values", "images", "image", "x")
LABELS = ("data_samples", "labels", "label", "targets", "y")


def gather(images: Any, labels: Any = None) -> tuple[Tensor, Tensor, Sequence[str] | None]:
    """Images, labels and the names of the classes, where the source has names; nothing is checked but the form.

    Args:
        images: a tensor or array ``[N, C, H, W]``, or a list of ``[C, H, W]``, with ``labels``; or, without, a
            ``DataLoader`` or anything else that gives batches ``(images, labels)`` (dicts with the usual names too), a
            list of these, or
            a data set of natx or of such pairs.
        labels: classes ``[N]``.

    Raises:
        DataError: labels missing, or beside a source that has its own, or batches of another form.
    """
    if labels is not None:
        return _tensor(images, "images").detach(), _tensor(labels, "labels").detach(), None
    classes = _names(images)
    # torch's own sets may have the method too, and give lists.
    if hasattr(images, "__getitems__") and len(images) and isinstance(images.__getitems__([0]), dict):
        batch = images.__getitems__(list(range(len(images))))
        return batch["inputs"].detach(), batch["data_samples"].detach(), classes
    if isinstance(images, (Tensor, np.ndarray)) or not isinstance(images, Iterable | Dataset):
        kind = type(images).__name__
        raise DataError(f"images without labels are a data set or a DataLoader; got {kind}: give labels")
    pairs = [*_batches(images)]
    if not pairs:
        raise DataError("the loader or data set holds no images")
    if len(shapes := {tuple(x.shape[1:]) for x, _ in pairs}) > 1:
        raise DataError(f"images are of several sizes, {' and '.join(map(str, sorted(shapes)[:2]))}: make them of one")
    return torch.cat([x.detach().cpu() for x, _ in pairs]), torch.cat([y.detach().cpu() for _, y in pairs]), classes


def _names(source: Any) -> Sequence[str] | None:
    """The names of the classes of a source, or of the data set that it shows, or a part of (``Subset``)."""
    while getattr(source, "classes", None) is None and hasattr(source, "dataset"):
        source = source.dataset
    return getattr(source, "classes", None)


def _batches(source: Any) -> Iterator[tuple[Tensor, Tensor]]:
    if isinstance(source, DataLoader) or not hasattr(source, "__getitem__"):
        yield from (_pair(batch) for batch in source)
        return
    for i in range(len(source)):
        x, y = _pair(source[i])
        yield (x, y) if x.dim() == 4 else (x[None], y.reshape(1) if y.numel() == 1 else y[None])


def _tensor(values: Any, name: str) -> Tensor:
    """Tensors or arrays, one or a list of them, as one tensor."""
    try:
        if isinstance(values, np.ndarray):
            return torch.from_numpy(np.ascontiguousarray(values))  # a flipped view has strides that torch does not take
        if isinstance(values, (list, tuple)) and values and isinstance(values[0], Tensor):
            return torch.stack([*values])
        if isinstance(values, (list, tuple)) and values and isinstance(values[0], np.ndarray):
            return torch.from_numpy(np.stack(values))
        return torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise DataError(
            f"{name} are a {type(values).__name__}, expected a tensor, an array or a list of equal ones ({reason}); a "
            "DataLoader or a data set goes alone, without labels"
        ) from error


def _pair(batch: Any) -> tuple[Tensor, Tensor]:
    """The images and labels of a batch, or of one image."""
    if isinstance(batch, dict):
        parts = [next((batch[name] for name in names if name in batch), None) for names in (INPUTS, LABELS)]
    else:
        parts = [*batch[:2]] if isinstance(batch, (list, tuple)) else []
    if len(parts) != 2 or parts[1] is None or not isinstance(parts[0], Tensor):
        kind = type(parts[0] if parts else batch).__name__
        raise DataError(
            f"batches are (images, labels) with images as tensors; got {kind}: turn images into tensors first "
            "(torchvision.transforms.v2: ToImage, ToDtype(torch.float32, scale=True)), without normalising them"
        )
    return parts[0], torch.as_tensor(parts[1])
