"""CIFAR-10 and CIFAR-100 in torchvision's folder layout."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torchvision import datasets as tv_datasets

from natx.data.base import InMemory, brief
from natx.errors import ConfigError, DataError
from natx.registry import DATASETS
from natx.runtime.locks import exclusive


def _array_from_buffer(
    buffer: Any, dtype: np.dtype, shape: tuple[int, ...], order: Literal["C", "F"] = "C"
) -> np.ndarray:
    """Stands in for numpy's private ``_frombuffer``, which pickle protocol 5 names."""
    return np.frombuffer(buffer, dtype=dtype).reshape(shape, order=order)


def _allowed_globals() -> dict[tuple[str, str], Callable[..., Any]]:
    """The only names a CIFAR pickle may refer to: those that rebuild numpy arrays, of old and new numpy."""
    reconstruct: Any = np.empty(0).__reduce__()[0]
    table: dict[tuple[str, str], Callable[..., Any]] = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): _encode_latin1,
    }
    for package in ("numpy.core", "numpy._core"):
        table[package + ".multiarray", "_reconstruct"] = reconstruct
        table[package + ".numeric", "_frombuffer"] = _array_from_buffer
    return table


def _encode_latin1(text: str, encoding: str) -> bytes:
    """``_codecs.encode`` for the one codec numpy's pickles use; any imported package may register others."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"the codec {encoding!r} is not allowed")
    return text.encode("latin1")


class _ArrayUnpickler(pickle.Unpickler):
    """An unpickler that can build containers, strings, numbers and numpy arrays, and nothing else."""

    allowed: ClassVar[dict[tuple[str, str], Callable[..., Any]]] = _allowed_globals()

    def find_class(self, module: str, name: str) -> Any:
        """The object behind a name if it is one of ``allowed``; UnpicklingError otherwise."""
        try:
            return self.allowed[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}, which is not allowed") from None


class _CIFAR(InMemory):
    """Reader of the "python version" of CIFAR in torchvision's folder layout; see :class:`CIFAR10`."""

    reference: ClassVar[type[tv_datasets.CIFAR10]]
    label_key: ClassVar[str]

    def __init__(
        self,
        root: str | Path = "data",
        train: bool = True,
        *,
        download: bool = False,
        verify: bool = True,
        limit: int | None = None,
    ) -> None:
        if limit is not None and (not isinstance(limit, int) or limit < 1):
            raise ConfigError(f"{type(self).__name__}: limit must be None or an integer >= 1; got {limit!r}")
        self.root, self.train, self.verify = Path(root).expanduser(), train, verify
        self.folder = self.root / self.reference.base_folder
        meta = self.reference.meta
        parts = self.reference.train_list if train else self.reference.test_list
        self._require([name for name, _ in parts] + [meta["filename"]], download=download)
        classes = self._names(meta["filename"], meta["md5"], key=meta["key"])
        images, labels, count = [], [], 0
        for name, md5 in parts:
            data, target = self._batch(name, md5, num_classes=len(classes))
            images.append(data)
            labels.append(target)
            count += len(target)
            if limit is not None and count >= limit:
                break
        if limit is not None and limit > count:
            raise ConfigError(f"{type(self).__name__}: limit={limit} but {self.folder} has {count} images")
        pixels = torch.from_numpy(np.concatenate(images)[:limit]).reshape(-1, 3, 32, 32)
        super().__init__(pixels, torch.from_numpy(np.concatenate(labels)[:limit]), classes=classes)

    def _require(self, names: Sequence[str], *, download: bool) -> None:
        """Makes sure the files exist, downloading when allowed."""
        absent = [name for name in names if not (self.folder / name).is_file()]
        if absent and download:
            try:
                with exclusive(self.root / f".{self.folder.name}.lock"):  # processes that start at once
                    self.reference(str(self.root), train=self.train, download=True)
            except (OSError, RuntimeError) as error:
                raise DataError(
                    f"{type(self).__name__}: download to {self.root} failed ({brief(error)}); "
                    f"check the network or unpack {self.reference.filename} in {self.root}"
                ) from error
            absent = [name for name in names if not (self.folder / name).is_file()]
        if absent:
            raise DataError(
                f"{type(self).__name__}: looked in {self.folder} for {', '.join(names)}, missing "
                f"{', '.join(absent)}; pass download=True or unpack {self.reference.filename} in {self.root}"
            )

    def _load(self, name: str, md5: str) -> dict[str, Any]:
        """The dictionary in one file, with its checksum checked before it is parsed."""
        path = self.folder / name
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DataError(f"cannot read {path} ({brief(error)}); check its permissions") from error
        checksum = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if self.verify and checksum != md5:
            raise DataError(
                f"{path} has md5 {checksum}, expected {md5}: damaged or not the original; remove it and pass "
                f"download=True, or pass verify=False to accept a re-encoded set"
            )
        try:
            entry = _ArrayUnpickler(io.BytesIO(content), encoding="latin1").load()
        except Exception as error:  # a damaged pickle can raise almost anything
            raise DataError(
                f"{path} is not a pickle of numpy arrays only ({brief(error)}); replace it with the "
                f"file from {self.reference.filename}"
            ) from error
        if not isinstance(entry, dict):
            raise DataError(f"{path} holds a {type(entry).__name__}, expected a dictionary; replace the file")
        return entry

    def _names(self, name: str, md5: str, *, key: str) -> list[str]:
        names = self._load(name, md5).get(key)
        if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
            raise DataError(f"{self.folder / name} has no list of class names under {key!r}; replace the file")
        return names

    def _batch(self, name: str, md5: str, *, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
        """Pixels uint8 [n, 3072] and labels int64 [n] of one file."""
        entry, path = self._load(name, md5), self.folder / name
        data, labels = entry.get("data"), entry.get(self.label_key)
        if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape[1:] != (3072,):
            got = f"{data.dtype} {list(data.shape)}" if isinstance(data, np.ndarray) else type(data).__name__
            raise DataError(f"{path}: 'data' must be uint8 [n, 3072]; got {got}; replace the file")
        if (
            not isinstance(labels, list)
            or not all(type(label) is int and 0 <= label < num_classes for label in labels)
            or len(labels) != len(data)
        ):
            raise DataError(
                f"{path}: {self.label_key!r} must be a list of {len(data)} integers in 0..{num_classes - 1}; "
                f"replace the file"
            )
        return data, np.asarray(labels, dtype=np.int64)


@DATASETS.register_module()
class CIFAR10(_CIFAR):
    """CIFAR-10: 50000 training and 10000 test images, uint8 [3, 32, 32], 10 classes, held in memory.

    Reads ``root/cifar-10-batches-py`` (torchvision's layout) with an unpickler that can only build numpy
    arrays.

    Args:
        root: folder that holds (or will hold) ``cifar-10-batches-py``.
        train: training set, else test set.
        download: when files are missing, let torchvision fetch the archive (170 MB).
        verify: compare every file read with the published md5; False accepts a re-encoded set.
        limit: keep only the first ``limit`` images.

    Raises:
        DataError: files missing, unreadable, with another md5, or not what the format says.
        ConfigError: limit below 1 or above the number of images.

    Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images" (2009); md5 sums from
    torchvision.
    """

    reference = tv_datasets.CIFAR10
    label_key = "labels"


@DATASETS.register_module()
class CIFAR100(_CIFAR):
    """CIFAR-100 with its 100 fine classes; otherwise as :class:`CIFAR10`, in ``root/cifar-100-python``."""

    reference = tv_datasets.CIFAR100
    label_key = "fine_labels"
