"""Images in one folder per class, and ImageNet-100."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from natx.data.base import BatchDataset, brief
from natx.data.images import IMAGE_SUFFIXES, decode_batch, read_rgb
from natx.errors import ConfigError, DataError
from natx.registry import DATASETS

IMAGENET100_LIST = Path(__file__).parent.with_name("imagenet100.txt")


def _read_class_list(path: Path) -> list[str]:
    """Class folder names, one per line; ``#`` at the start of a line or after a blank starts a comment."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the class list {path} ({brief(error)}); give one folder name per line") from error
    names = [(" " + line).split(" #", 1)[0].strip() for line in lines]
    names = [name for name in names if name]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if not names or repeated:
        fault = f"names {repeated[0]} more than once" if repeated else "is empty"
        raise DataError(f"the class list {path} {fault}; give one folder name per line, each once")
    return names


def _images_under(folder: Path) -> list[str]:
    """Sorted paths of the images in a folder and its subfolders; hidden files are left out."""
    paths: list[str] = []
    for parent, _, names in os.walk(folder, followlinks=True):
        paths += [
            os.path.join(parent, name)
            for name in names
            if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")
        ]
    return sorted(paths)


@DATASETS.register_module()
class ImageFolder(BatchDataset):
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
        self.notes = [] if class_list else _text_order(self.classes)
        self.paths: list[str] = []
        counts = []
        for name in self.classes:
            images = _images_under(self.root / name)
            if not images:
                raise DataError(
                    f"class folder {self.root / name} has no images; expected files named "
                    f"{', '.join('*' + suffix for suffix in IMAGE_SUFFIXES)}: add some or remove the class"
                )
            self.paths += images
            counts.append(len(images))
        self.labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))

    @property
    def files(self) -> Sequence[str]:
        """See :attr:`natx.data.base.BatchDataset.files`."""
        return self.paths

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
            if undecoded := [name for name in folders if any("\ud800" <= letter <= "\udfff" for letter in name)]:
                raise DataError(
                    f"{self.root} has a class folder {undecoded[0]!a}, whose name is in another encoding, so that no "
                    "report could hold it: rename it"
                )
            return tuple(folders)
        listed, present = _read_class_list(Path(class_list).expanduser()), set(folders)
        absent = [name for name in listed if name not in present]
        if absent:
            more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
            raise DataError(
                f"{self.root} lacks {len(absent)} of the {len(listed)} classes in {class_list}: "
                f"{', '.join(absent[:3])}{more}; add these folders or give another class_list"
            )
        return tuple(listed)

    def _decode(self, path: str) -> np.ndarray:
        """One image as uint8 [side, side, 3]."""
        image = read_rgb(path)
        width, height = image.size
        short = min(width, height)
        size = (int(self.resize * width / short), int(self.resize * height / short))
        image = image.resize(size, Image.Resampling.BILINEAR)
        side = self.resize if self.train else self.image_size
        left, top = round((size[0] - side) / 2), round((size[1] - side) / 2)
        return np.asarray(image.crop((left, top, left + side, top + side)))

    def _inputs(self, index: Tensor) -> Tensor:
        return decode_batch([self.paths[i] for i in index.tolist()], self._decode, threads=self.threads)

    def _content(self) -> Iterator[bytes]:
        yield f"{self.image_size} of {self.resize}\n".encode()
        rows = []
        for path, label in zip(self.paths, self.labels.tolist()):
            try:
                size = os.stat(path).st_size
            except OSError as error:
                raise DataError(f"cannot read {path} ({brief(error)}); do not change {self.root} in a run") from error
            rows.append(f"{Path(os.path.relpath(path, self.root)).as_posix()}\t{label}\t{size}\n")
        yield from (row.encode("utf-8", "surrogateescape") for row in sorted(rows))


def _text_order(names: Sequence[str]) -> list[str]:
    """A remark where text, which labels follow, sorts folders otherwise than the values of numbers in their names."""
    natural = sorted(names, key=_natural)
    if list(names) == natural:
        return []
    place = next(i for i, (name, other) in enumerate(zip(names, natural)) if name != other)
    return [
        f"class folders are in the order of text, as torchvision has them: label {place} is {names[place]!r}; timm's "
        f"order, by the values of numbers and without case, has {natural[place]!r} there: give class_list for that"
    ]


def _natural(name: str) -> list[tuple[int, int, str]]:
    """What timm sorts folders by: numbers by value, letters without case."""
    parts = re.split(r"(\d+)", name.lower())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]


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
