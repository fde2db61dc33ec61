"""Image classification data sets that return ready batches.

Every data set is map-style and has ``__getitems__``, which torch's DataLoader calls with the indices of a
batch; pass a ``collate_fn`` that returns its argument. A batch is ``{'inputs': [N, C, H, W] uint8 or float32,
'data_samples': int64 [N], 'index': int64 [N]}``, where ``index`` is the position in the data set. Nothing is
downloaded unless asked. Data that is missing or wrong raises :class:`natx.errors.DataError` with one line.
"""

from __future__ import annotations

import copy
import hashlib
import io
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import datasets as tv_datasets

from natx.errors import ConfigError, DataError
from natx.registry import DATASETS

__all__ = ["CIFAR10", "CIFAR100", "NPZ", "Digits", "ImageFolder", "ImageNet100"]

IMAGE_SUFFIXES = (".jpeg", ".jpg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff")
IMAGENET100_LIST = Path(__file__).with_name("imagenet100.txt")
_MAX_INFERRED_CLASSES = 1_000_000


def _brief(error: BaseException) -> str:
    """The text of an error as one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


class _BatchDataset(Dataset):
    """What the data sets share: labels, class names and batches by position.

    Attributes:
        labels: class of every image, int64 ``[len]``; available without reading images.
        classes: class names in label order.
    """

    labels: Tensor
    classes: tuple[str, ...]
    _digest: str | None = None

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)

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


class _InMemory(_BatchDataset):
    """A data set whose images are one tensor ``images`` [len, C, H, W]."""

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


@DATASETS.register_module()
class Digits(_InMemory):
    """The 8x8 handwritten digits that ship with scikit-learn: 1797 grey images, 10 classes, float32.

    The split is stratified and fixed (``train_test_split`` with ``random_state=0``; 1437 train and 360 test
    images at the default fraction); within a part the images keep scikit-learn's order. Grey levels 0..16
    are divided by 16.

    Args:
        train: the training part, else the test part.
        test_fraction: share of the images in the test part.
        upscale: whole factor of a nearest-neighbour enlargement (4 gives 32x32).

    Raises:
        ConfigError: a fraction that leaves a part without every class, or upscale < 1.

    Source: Alpaydin & Kaynak, UCI "Optical Recognition of Handwritten Digits" (test set), via scikit-learn.
    """

    def __init__(self, train: bool = True, test_fraction: float = 0.2, *, upscale: int = 1) -> None:
        if not isinstance(upscale, int) or upscale < 1:
            raise ConfigError(f"Digits: upscale must be an integer >= 1; got {upscale!r}")
        if not 0.0 < test_fraction < 1.0:
            raise ConfigError(f"Digits: test_fraction must be between 0 and 1; got {test_fraction!r}")
        pixels, target = load_digits(return_X_y=True)
        try:
            parts = train_test_split(np.arange(len(target)), test_size=test_fraction, stratify=target, random_state=0)
        except ValueError as error:  # a part smaller than the number of classes
            raise ConfigError(f"Digits: test_fraction={test_fraction!r} does not work: {_brief(error)}") from error
        chosen = np.sort(parts[0 if train else 1])
        images = torch.from_numpy(pixels[chosen].astype(np.float32) / 16.0).reshape(-1, 1, 8, 8)
        images = images.repeat_interleave(upscale, dim=2).repeat_interleave(upscale, dim=3)
        super().__init__(images, torch.from_numpy(target[chosen]), classes=[str(d) for d in range(10)])


def _array_from_buffer(buffer: Any, dtype: np.dtype, shape: tuple[int, ...], order: str = "C") -> np.ndarray:
    """Stands in for numpy's private ``_frombuffer``, which pickle protocol 5 names."""
    return np.frombuffer(buffer, dtype=dtype).reshape(shape, order=order)


def _allowed_globals() -> dict[tuple[str, str], Callable[..., Any]]:
    """The only names a CIFAR pickle may refer to: those that rebuild numpy arrays, of old and new numpy."""
    reconstruct = np.empty(0).__reduce__()[0]
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


class _CIFAR(_InMemory):
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
        missing = [name for name in names if not (self.folder / name).is_file()]
        if missing and download:
            try:
                self.reference(str(self.root), train=self.train, download=True)
            except (OSError, RuntimeError) as error:
                raise DataError(
                    f"{type(self).__name__}: download to {self.root} failed ({_brief(error)}); "
                    f"check the network or unpack {self.reference.filename} in {self.root}"
                ) from error
            missing = [name for name in names if not (self.folder / name).is_file()]
        if missing:
            raise DataError(
                f"{type(self).__name__}: looked in {self.folder} for {', '.join(names)}, missing "
                f"{', '.join(missing)}; pass download=True or unpack {self.reference.filename} in {self.root}"
            )

    def _load(self, name: str, md5: str) -> dict[str, Any]:
        """The dictionary in one file, with its checksum checked before it is parsed."""
        path = self.folder / name
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DataError(f"cannot read {path} ({_brief(error)}); check its permissions") from error
        found = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if self.verify and found != md5:
            raise DataError(
                f"{path} has md5 {found}, expected {md5}: damaged or not the original; remove it and pass "
                f"download=True, or pass verify=False to accept a re-encoded set"
            )
        try:
            entry = _ArrayUnpickler(io.BytesIO(content), encoding="latin1").load()
        except Exception as error:  # a damaged pickle can raise almost anything
            raise DataError(
                f"{path} is not a pickle of numpy arrays only ({_brief(error)}); replace it with the "
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
        whole = isinstance(labels, list) and all(type(v) is int and 0 <= v < num_classes for v in labels)
        if not whole or len(labels) != len(data):
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


def _read_class_list(path: Path) -> list[str]:
    """Class folder names, one per line; ``#`` at the start of a line or after a blank starts a comment."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"cannot read the class list {path} ({_brief(error)}); give one folder name per line"
        ) from error
    names = [(" " + line).split(" #", 1)[0].strip() for line in lines]
    names = [name for name in names if name]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if not names or repeated:
        what = f"names {repeated[0]} more than once" if repeated else "is empty"
        raise DataError(f"the class list {path} {what}; give one folder name per line, each once")
    return names


def _images_under(folder: Path) -> list[str]:
    """Sorted paths of the images in a folder and its subfolders; hidden files are left out."""
    found = []
    for parent, _, names in os.walk(folder, followlinks=True):
        found += [
            os.path.join(parent, name)
            for name in names
            if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")
        ]
    return sorted(found)


@DATASETS.register_module()
class ImageFolder(_BatchDataset):
    """Images in one folder per class, decoded when read, uint8 RGB.

    The shorter side is resized to ``resize`` (Pillow bilinear, antialiased; the same pixels as torchvision's
    ``Resize``). For evaluation the centre ``image_size x image_size`` is returned. For training it is the
    centre ``resize x resize`` square, so that a batch can be stacked and a random-resized crop done on the
    device; this deviates from the usual recipe, which crops the whole rectangle: what lies beyond the square
    is never seen. Greyscale, palette and CMYK images become RGB; EXIF orientation is ignored.

    Args:
        root: folder with one subfolder per class.
        train: return ``resize x resize`` squares instead of ``image_size`` crops.
        image_size: side of the evaluation crop in pixels.
        resize: length of the shorter side in pixels, at least ``image_size``.
        class_list: file with one class folder name per line (``#`` starts a comment); labels follow its order
            and other folders are ignored. Without it all folders, in sorted order.
        threads: decode a batch with this many threads; 0 decodes in the caller's.

    Raises:
        DataError: root missing or without class folders, a listed class missing, a class without images; when
            an image is read: a broken image.
        ConfigError: sizes or threads out of range.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        train: bool = False,
        image_size: int = 224,
        resize: int = 256,
        class_list: str | Path | None = None,
        threads: int = 0,
    ) -> None:
        if not 1 <= image_size <= resize:
            raise ConfigError(
                f"{type(self).__name__}: need 1 <= image_size <= resize; got image_size={image_size} and "
                f"resize={resize}"
            )
        if threads < 0:
            raise ConfigError(f"{type(self).__name__}: threads must be >= 0; got {threads}")
        self.root = Path(root).expanduser()
        self.train, self.image_size, self.resize, self.threads = train, image_size, resize, threads
        self.classes = self._find_classes(class_list)
        self.paths: list[str] = []
        counts = []
        for name in self.classes:
            found = _images_under(self.root / name)
            if not found:
                raise DataError(
                    f"class folder {self.root / name} has no images; expected files named "
                    f"{', '.join('*' + suffix for suffix in IMAGE_SUFFIXES)}: add some or remove the class"
                )
            self.paths += found
            counts.append(len(found))
        self.labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))

    @property
    def sorted_by_class(self) -> bool:
        """Images lie class by class: a subset must not be the first ones."""
        return True

    def for_evaluation(self) -> ImageFolder:
        """The same images in the same order as an evaluation reads them (centre crops)."""
        view = copy.copy(self)
        view.train = False
        return view

    def _find_classes(self, class_list: str | Path | None) -> tuple[str, ...]:
        layout = f"expected {self.root}/<class>/<image>"
        try:
            folders = sorted(e.name for e in os.scandir(self.root) if e.is_dir() and not e.name.startswith("."))
        except OSError as error:
            raise DataError(
                f"{type(self).__name__}: cannot list {self.root} ({error.strerror}); {layout}: set root to it"
            ) from error
        if not folders:
            raise DataError(f"{type(self).__name__}: {self.root} has no class folders; {layout}: sort images so")
        if class_list is None:
            return tuple(folders)
        listed, present = _read_class_list(Path(class_list).expanduser()), set(folders)
        missing = [name for name in listed if name not in present]
        if missing:
            more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
            raise DataError(
                f"{self.root} lacks {len(missing)} of the {len(listed)} classes in {class_list}: "
                f"{', '.join(missing[:3])}{more}; add these folders or give another class_list"
            )
        return tuple(listed)

    def _decode(self, path: str) -> np.ndarray:
        """One image as uint8 [side, side, 3]."""
        try:
            with Image.open(path) as opened:
                # Pillow clips these to 255 on conversion, which would silently give a white image.
                if opened.mode.startswith(("I", "F")):
                    raise DataError(f"{path} has more than 8 bits a pixel ({opened.mode}); convert it to 8 bits")
                image = opened.convert("RGB")
        # Pillow's decoders raise all of these on damaged files.
        except (
            OSError,
            SyntaxError,
            ValueError,
            IndexError,
            TypeError,
            struct.error,
            Image.DecompressionBombError,
        ) as error:
            raise DataError(f"cannot decode the image {path} ({_brief(error)}); replace or remove it") from error
        width, height = image.size
        short = min(width, height)
        size = (int(self.resize * width / short), int(self.resize * height / short))
        image = image.resize(size, Image.Resampling.BILINEAR)
        side = self.resize if self.train else self.image_size
        left, top = round((size[0] - side) / 2), round((size[1] - side) / 2)
        return np.asarray(image.crop((left, top, left + side, top + side)))

    def _inputs(self, index: Tensor) -> Tensor:
        paths = [self.paths[i] for i in index.tolist()]
        if self.threads:
            # A pool per batch keeps the data set picklable and safe to fork; Pillow decodes without the GIL.
            with ThreadPoolExecutor(self.threads) as pool:
                images = list(pool.map(self._decode, paths))
        else:
            images = [self._decode(path) for path in paths]
        return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()

    def _content(self) -> Iterable[Any]:
        rows = []
        for path, label in zip(self.paths, self.labels.tolist()):
            try:
                size = os.stat(path).st_size
            except OSError as error:
                raise DataError(f"cannot read {path} ({_brief(error)}); do not change {self.root} in a run") from error
            rows.append(f"{Path(os.path.relpath(path, self.root)).as_posix()}\t{label}\t{size}\n")
        return (row.encode("utf-8", "surrogateescape") for row in sorted(rows))


@DATASETS.register_module()
class ImageNet100(ImageFolder):
    """ImageNet-100: 100 classes of ILSVRC-2012 in ``root/train`` and ``root/val`` with one folder per synset.

    A full ImageNet folder works: other classes are ignored.

    Args:
        root: folder with ``train`` and ``val``.
        train: ``train`` and ``resize`` squares, else ``val`` and centre crops (see :class:`ImageFolder`).
        class_list: file with the synsets in label order; the packaged ``imagenet100.txt`` by default.
        image_size: side of the evaluation crop in pixels.
        resize: length of the shorter side in pixels.
        threads: decoding threads per batch.

    Raises:
        DataError, ConfigError: as :class:`ImageFolder`.

    Source: the class list of Tian et al., "Contrastive Multiview Coding" (ECCV 2020).
    """

    def __init__(
        self,
        root: str | Path = "data/imagenet",
        train: bool = True,
        *,
        class_list: str | Path | None = None,
        image_size: int = 224,
        resize: int = 256,
        threads: int = 0,
    ) -> None:
        super().__init__(
            Path(root) / ("train" if train else "val"),
            train=train,
            image_size=image_size,
            resize=resize,
            class_list=IMAGENET100_LIST if class_list is None else class_list,
            threads=threads,
        )


@DATASETS.register_module()
class NPZ(_InMemory):
    """Images and labels from one ``.npz`` file, held in memory.

    Images are uint8 or float in [0, 1] (returned as float32), [N, H, W, C] or [N, C, H, W] with 1 or 3
    channels; which of the two is told by the axis that has size 1 or 3. Labels are integers [N]. Pickled
    arrays are refused.

    Args:
        path: the file.
        image_key: name of the image array.
        label_key: name of the label array.
        num_classes: number of classes; largest label + 1 if not given.

    Raises:
        DataError: the file or an array is missing or unreadable; shapes, types or values are not as above;
            labels are negative or not below num_classes.
        ConfigError: num_classes < 1.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        image_key: str = "image",
        label_key: str = "label",
        num_classes: int | None = None,
    ) -> None:
        if num_classes is not None and num_classes < 1:
            raise ConfigError(f"NPZ: num_classes must be None or >= 1; got {num_classes}")
        self.path = Path(path).expanduser()
        images, labels = self._load([image_key, label_key])
        images = self._check_images(images, where=f"{self.path}[{image_key!r}]")
        where = f"{self.path}[{label_key!r}]"
        count = self._check_labels(labels, where=where, count=len(images), num_classes=num_classes)
        super().__init__(
            torch.from_numpy(images),
            torch.from_numpy(labels.astype(np.int64)),
            classes=[str(c) for c in range(count)],
        )

    def _load(self, keys: Sequence[str]) -> list[np.ndarray]:
        if not self.path.is_file():
            raise DataError(
                f"NPZ: there is no file {self.path}; expected an .npz with {', '.join(keys)}: set path to it"
            )
        try:
            with np.load(self.path, allow_pickle=False) as archive:
                missing = [key for key in keys if key not in archive.files]
                if missing:
                    raise DataError(
                        f"{self.path} lacks {', '.join(missing)}; it has "
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
                f"cannot read {self.path} ({_brief(error)}); expected an .npz without objects: write it with "
                f"numpy.savez"
            ) from error

    @staticmethod
    def _check_images(images: np.ndarray, *, where: str) -> np.ndarray:
        """Images as uint8 or float32 [N, C, H, W]."""
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
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2) if last else images)

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
