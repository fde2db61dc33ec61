"""Images and labels in one .npz file."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from natx.data.base import InMemory, brief
from natx.errors import ConfigError, DataError
from natx.registry import DATASETS

_MAX_INFERRED_CLASSES = 1_000_000


@DATASETS.register_module()
class NPZ(InMemory):
    """Images and labels from one ``.npz`` file, held in memory.

    Images are uint8 or float in [0, 1] (returned as float32), [N, H, W, C] or [N, C, H, W] with 1 or 3
    channels; which of the two is told by the axis that has size 1 or 3. Labels are integers [N]. Pickled
    arrays are refused.

    Args:
        path: the file.
        image_key: name of the image array.
        label_key: name of the label array.
        num_classes: number of classes; largest label + 1 if not given.
        count: keep so many images, drawn once with a fixed seed and in the file's order; all for None.

    Raises:
        DataError: the file or an array is missing or unreadable; shapes, types or values are not as above;
            labels are negative or not below num_classes.
        ConfigError: num_classes < 1, or a count below 1 or above the number of images.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        image_key: str = "image",
        label_key: str = "label",
        num_classes: int | None = None,
        count: int | None = None,
    ) -> None:
        if count is not None and (not isinstance(count, int) or count < 1):
            raise ConfigError(f"NPZ: count must be None or an integer >= 1; got {count!r}")
        if num_classes is not None and num_classes < 1:
            raise ConfigError(f"NPZ: num_classes must be None or >= 1; got {num_classes}")
        self.path = Path(path).expanduser()
        images, labels = self._load([image_key, label_key])
        images, channels_last = self._check_images(images, where=f"{self.path}[{image_key!r}]")
        where = f"{self.path}[{label_key!r}]"
        classes = self._check_labels(labels, where=where, count=len(images), num_classes=num_classes)
        if count is not None:
            images, labels = self._sample(images, labels, count)
        super().__init__(
            torch.from_numpy(_channels_first(images) if channels_last else np.ascontiguousarray(images)),
            torch.from_numpy(labels.astype(np.int64)),
            classes=[str(c) for c in range(classes)],
        )

    def _sample(self, images: np.ndarray, labels: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """``count`` of the images and their labels."""
        if count > len(images):
            raise ConfigError(f"NPZ: count={count} but {self.path} has {len(images)} images: lower it")
        positions = (
            torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:count].sort().values.numpy()
        )
        return images[positions], labels[positions]

    def _load(self, keys: Sequence[str]) -> list[np.ndarray]:
        if not self.path.is_file():
            raise DataError(
                f"NPZ: there is no file {self.path}; expected an .npz with {', '.join(keys)}: set path to it"
            )
        try:
            with np.load(self.path, allow_pickle=False) as archive:
                absent = [key for key in keys if key not in archive.files]
                if absent:
                    raise DataError(
                        f"{self.path} lacks {', '.join(absent)}; it has "
                        f"{', '.join(archive.files) or 'nothing'}: set image_key and label_key"
                    )
                return [archive[key] for key in keys]
        # np.load returns a bare array, which is no context manager, for an .npy file.
        except (
            OSError,
            ValueError,
            EOFError,
            zipfile.BadZipFile,
            zlib.error,
            TypeError,
            AttributeError,
        ) as error:
            raise DataError(
                f"cannot read {self.path} ({brief(error)}); expected an .npz without objects: write it with numpy.savez"
            ) from error

    @staticmethod
    def _check_images(images: np.ndarray, *, where: str) -> tuple[np.ndarray, bool]:
        """Images as uint8 or float32, and whether their channels come last."""
        got = f"got {images.dtype} {list(images.shape)}"
        if images.ndim != 4 or 0 in images.shape:
            raise DataError(f"{where} must be [N, H, W, C] or [N, C, H, W], not empty; {got}; reshape it")
        last, second = images.shape[3] in (1, 3), images.shape[1] in (1, 3)
        if last == second:
            why = "both could be the channels" if last else "neither is"
            raise DataError(
                f"{where} needs 1 or 3 channels on either the last or the second axis; {got}, {why}; reshape it"
            )
        if images.dtype != np.uint8:
            if images.dtype.kind != "f":
                raise DataError(f"{where} must be uint8 or float; {got}; convert it")
            if not np.isfinite(images).all():
                raise DataError(f"{where} has NaN or infinite pixels; pixels must be in [0,1] or uint8; repair it")
            low, high = float(images.min()), float(images.max())
            if low < 0.0 or high > 1.0:
                raise DataError(f"{where}: pixels must be in [0,1] or uint8; got {low:g}..{high:g}; divide by 255")
            images = images.astype(np.float32)
        return images, last

    @staticmethod
    def _check_labels(labels: np.ndarray, *, where: str, count: int, num_classes: int | None) -> int:
        """The number of classes, once the labels are known to be ``count`` valid integers."""
        if labels.dtype.kind not in "iu":
            raise DataError(f"{where} must be integers; got {labels.dtype}; convert it with astype(int)")
        if labels.ndim != 1 or len(labels) != count:
            raise DataError(f"{where} must be [{count}], one label per image; got {list(labels.shape)}; fix the file")
        low, high = int(labels.min()), int(labels.max())
        top = _MAX_INFERRED_CLASSES if num_classes is None else num_classes
        if low < 0 or high >= top:
            raise DataError(
                f"{where} must be in 0..{top - 1}; got {low}..{high}; renumber the labels or set num_classes"
            )
        return high + 1 if num_classes is None else num_classes


def _channels_first(images: np.ndarray, *, chunk: int = 4096) -> np.ndarray:
    """[N, H, W, C] as [N, C, H, W] in the same memory: millions of images need no second copy."""
    images = np.ascontiguousarray(images)
    count, height, width, channels = images.shape
    result = images.reshape(count, channels, height, width)  # a view: each image keeps its place
    for start in range(0, count, chunk):
        part = slice(start, start + chunk)
        result[part] = images[part].transpose(0, 3, 1, 2).copy()
    return result
