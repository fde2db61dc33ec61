"""One tensor for every training image, kept from epoch to epoch: what prior-guided attacks start from."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from mmengine.dist import all_gather_object, barrier, get_dist_info
from torch import Tensor, nn

from natx.errors import CheckpointError, ConfigError

Store = Literal["device", "disk"]
NEVER = -1  # the epoch of an image that has not been written


class Memory(Protocol):
    """Values of images ``[N, *shape]`` by their positions in the data set."""

    def read(self, index: Tensor, *, epoch: int, since: int, fresh: Tensor) -> Tensor:
        """What was written last and not before ``since``; ``fresh`` for images without.

        An image that comes again in an epoch (samplers may draw it several times) goes on from there on the device, and
        once more from where it was before the epoch on disk.
        """

    def write(self, index: Tensor, values: Tensor, *, epoch: int) -> None:
        """Keep values; those that an image has of this epoch already make way."""

    def forget(self, epoch: int) -> None:
        """Drop what was written in this epoch and later ones; an image is left with what it read in ``epoch``."""


def build_memory(store: Store, *, images: int, path: Path | None, dtype: torch.dtype) -> nn.Module:
    """A memory of ``images`` entries: on the device and in checkpoints, or in a file.

    Without a path (a rehearsal, which keeps nothing) it is on the device whatever the store.

    Raises:
        ConfigError: several processes and no disk, or several machines: each would remember its own images alone.
    """
    if store not in ("device", "disk"):
        raise ConfigError(f"store is 'device' or 'disk'; got {store!r}")
    if store == "disk" and path is not None:
        if (machines := len({*all_gather_object(platform.node())})) > 1:
            raise ConfigError(
                f"store='disk' shares perturbations by a file that processes of one machine map; these are on "
                f"{machines} machines: use one, or a method that keeps none (Adversarial with SingleStep)"
            )
        return DiskMemory(images, dtype, path)
    if store == "device" and get_dist_info()[1] > 1:
        raise ConfigError("images change process from epoch to epoch: give store='disk' with several processes")
    return DeviceMemory(images, dtype)


class DeviceMemory(nn.Module):
    """Values on the device that the images are on; ``last.pth`` holds them, so a run is resumed from there.

    Args:
        images: number of images.
        dtype: of what is kept; ``read`` gives the precision of ``fresh``.
    """

    def __init__(self, images: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.images, self.dtype = images, dtype
        self.values: Tensor
        self.written: Tensor
        self.register_buffer("values", torch.zeros(0))
        self.register_buffer("written", torch.full((images,), NEVER, dtype=torch.int32))

    def read(self, index: Tensor, *, epoch: int, since: int, fresh: Tensor) -> Tensor:
        """See :meth:`Memory.read`."""
        if self.values.numel() == 0:
            return fresh
        self._place(fresh)
        written = self.written[index]
        usable = (written >= max(since, 0)).view(-1, *[1] * (fresh.dim() - 1))
        return torch.where(usable, self.values[index].to(fresh.dtype), fresh)

    def write(self, index: Tensor, values: Tensor, *, epoch: int) -> None:
        """See :meth:`Memory.write`."""
        if self.values.numel() == 0:
            self.values = torch.zeros(self.images, *values.shape[1:], dtype=self.dtype, device=values.device)
        self._place(values)
        self.values[index] = _held(values, self.dtype)
        self.written[index] = epoch

    def forget(self, epoch: int) -> None:
        """See :meth:`Memory.forget`; there is one place an image, so what came before is a checkpoint's to restore."""
        self.written[self.written >= epoch] = NEVER

    def _place(self, like: Tensor) -> None:
        if like.shape[1:] != self.values.shape[1:]:
            raise ConfigError(_shapes(self.values.shape[1:], like.shape[1:]))
        if self.values.device != like.device or self.written.device != like.device:
            self.values, self.written = self.values.to(like.device), self.written.to(like.device)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        values = state_dict.get(f"{prefix}values")
        if values is not None:  # its shape is known from the first batch on
            self.values = torch.zeros_like(values, dtype=self.dtype)
        super()._load_from_state_dict(state_dict, prefix, *rest)


class DiskMemory(nn.Module):
    """Values in a file of the run's folder, shared by its processes.

    Each image has two places, and a write takes the one that the epoch did not read. A run that is killed and goes on
    with an epoch therefore reads what it read before, whatever of the epoch was written already.

    Args:
        images: number of images.
        dtype: of what is kept.
        path: the file; it takes ``2 * images`` values.
    """

    def __init__(self, images: int, dtype: torch.dtype, path: Path) -> None:
        super().__init__()
        self.images, self.dtype, self.path = images, dtype, path
        self._values: Tensor | None = None  # [images, 2, *shape]
        self._written: Tensor | None = None  # [images, 2]

    def read(self, index: Tensor, *, epoch: int, since: int, fresh: Tensor) -> Tensor:
        """See :meth:`Memory.read`."""
        values, written = self._open(fresh)
        rows = index.cpu()
        place, usable = self._places(written[rows], epoch=epoch, since=since)
        kept = values[rows, place].to(fresh.device, fresh.dtype, non_blocking=True)
        return torch.where(usable.to(fresh.device).view(-1, *[1] * (fresh.dim() - 1)), kept, fresh)

    def write(self, index: Tensor, values: Tensor, *, epoch: int) -> None:
        """See :meth:`Memory.write`."""
        kept, written = self._open(values)
        rows = index.cpu()
        place, _ = self._places(written[rows], epoch=epoch, since=0)
        kept[rows, 1 - place] = _held(values, self.dtype).cpu()
        written[rows, 1 - place] = epoch

    def forget(self, epoch: int) -> None:
        """See :meth:`Memory.forget`; an image has its last two values, so what came before is there one epoch long."""
        epochs = self.path.with_suffix(".epochs")
        if get_dist_info()[0] == 0 and epochs.exists():
            written = torch.from_file(str(epochs), shared=True, size=2 * self.images, dtype=torch.int32)
            written[written >= epoch] = NEVER
        barrier()

    def get_extra_state(self) -> int:
        """Bytes of the file, 0 where there is none yet: a checkpoint says what it needs beside itself."""
        return self.path.stat().st_size if self.path.exists() else 0

    def set_extra_state(self, state: int) -> None:
        """Raise CheckpointError where a run is to go on from perturbations that are not there."""
        if state and state != (present := self.get_extra_state()):
            raise CheckpointError(
                f"the run goes on from the perturbations in {self.path}, a file of {state} bytes; it has {present}: "
                "put it back with what lies beside it, or start anew in another --work-dir"
            )

    @staticmethod
    def _places(written: Tensor, *, epoch: int, since: int) -> tuple[Tensor, Tensor]:
        """Which of an image's two places is the last before ``epoch``, and whether it may be used."""
        before = torch.where(written < epoch, written, NEVER)
        last, place = before.max(1)
        return place, last >= max(since, 0)

    def _open(self, like: Tensor) -> tuple[Tensor, Tensor]:
        if self._values is None or self._written is None:
            self._values, self._written = self._map(tuple(like.shape[1:]))
        if self._values.shape[2:] != like.shape[1:]:
            raise ConfigError(_shapes(self._values.shape[2:], like.shape[1:]))
        return self._values, self._written

    def _map(self, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """The file's two parts as tensors; the first process makes them anew where they are not of this size."""
        epochs = self.path.with_suffix(".epochs")
        count = 2 * self.images * torch.Size(shape).numel()
        sizes = {self.path: count * self.dtype.itemsize, epochs: 2 * self.images * torch.int32.itemsize}
        if get_dist_info()[0] == 0:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Mapped as they are, values of another type or number of images would be read as perturbations.
            if not all(file.exists() and file.stat().st_size == size for file, size in sizes.items()):
                self.path.unlink(missing_ok=True)
                torch.full((self.images, 2), NEVER, dtype=torch.int32).numpy().tofile(epochs)
        barrier()
        values = torch.from_file(str(self.path), shared=True, size=count, dtype=self.dtype)
        written = torch.from_file(str(epochs), shared=True, size=2 * self.images, dtype=torch.int32)
        return values.view(self.images, 2, *shape), written.view(self.images, 2)


def _held(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Values in a type; those beyond its range become its largest, since an infinite momentum would never fade."""
    largest = torch.finfo(dtype).max
    return values.clamp(-largest, largest).to(dtype) if values.dtype != dtype else values


def _shapes(kept: torch.Size, given: torch.Size) -> str:
    return (
        f"perturbations are kept for images of one size: {list(kept)} so far, now {list(given)}; resize the images to "
        "one size, or use a method without a memory"
    )
