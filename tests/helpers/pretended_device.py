"""A pretended accelerator, ``sim``: faults of a GPU found without one.

Its tensors hold CPU data and claim to lie on ``sim:0``. As on a GPU, an operation that mixes them with CPU tensors of
one or more dimensions raises, and so does ``numpy()``; everything that makes the host wait for the device (``item()``,
``bool()``, ``nonzero``, a boolean index, a copy to the CPU) is counted, with the line of this project that asked for
it. Inside :func:`pretended` the device can be used as any other::

    with pretended() as device, counted() as waits:
        x = torch.rand(4, 3, 8, 8).to(device)
        float(x.sum())
    assert waits.total == 1

Torch's backend for Python devices is registered once a process and cannot be taken away again, and autograd knows only
those that are there at its first backward: :func:`install` comes first (``tests/conftest.py``). Outside of
:func:`pretended` the device says that it is not available.

Not covered: autocast (nothing is cast), streams, several devices, ``torch.compile``, the speed of anything.
"""

from __future__ import annotations

import collections
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils import backend_registration
from torch.utils._pytree import tree_leaves, tree_map

NAME = "sim"
FLAG = "NATX_PRETENDED_DEVICE"  # set in the environment of a process of tests that has the device from the start
ROOT = Path(__file__).resolve().parents[2]
SOURCES = tuple(str(ROOT / folder) for folder in ("natx", "tasks", "tools"))

# Operations whose tensors may lie on different devices, and where an index may come from the CPU.
COPIES = {"aten::_to_copy", "aten::copy_", "aten::_copy_from", "aten::set_", "aten::to"}
INDEXING = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}
# Operations whose result, or its size, the host has to know before it can go on.
WAITING = {
    "aten::_local_scalar_dense",
    "aten::_unique2",
    "aten::bincount",
    "aten::equal",
    "aten::is_nonzero",
    "aten::masked_select",
    "aten::nonzero",
    "aten::unique_consecutive",
    "aten::unique_dim",
    "torchvision::nms",
}
_libraries: list[torch.library.Library] = []  # they unregister themselves when they are collected
_counters: list[Waits] = []


@dataclass
class Waits:
    """How often, and where, the host waited for the device."""

    places: collections.Counter[str] = field(default_factory=collections.Counter)

    @property
    def total(self) -> int:
        return sum(self.places.values())

    def under(self, part: str) -> int:
        """Waits asked for by lines of files whose path holds ``part``."""
        return sum(count for place, count in self.places.items() if part in place)

    def __str__(self) -> str:
        return "\n".join(f"{count} x {place}" for place, count in self.places.most_common()) or "none"


class Backend:
    """What torch asks a device's module for."""

    available = False

    device_count = staticmethod(lambda: 1)  # autograd makes as many queues as there are at its first backward
    is_available = staticmethod(lambda: Backend.available)
    is_initialized = staticmethod(lambda: True)
    current_device = staticmethod(lambda: 0)
    _is_in_bad_fork = staticmethod(lambda: False)
    manual_seed_all = staticmethod(lambda seed: None)
    get_amp_supported_dtype = staticmethod(lambda: [torch.bfloat16, torch.float16])
    get_rng_state = staticmethod(lambda device=0: torch.get_rng_state())
    set_rng_state = staticmethod(lambda state, device=0: torch.set_rng_state(state))


class SimTensor(torch.Tensor):
    """CPU data (``inner``) that claims to lie on ``sim:0``."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> SimTensor:
        return torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=torch.device(NAME, 0),
            requires_grad=False,
        )

    def __init__(self, inner: torch.Tensor) -> None:
        self.inner = inner

    def __repr__(self) -> str:
        return f"sim({self.inner!r})"

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if self.dim() == 0 else repr(self)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """A file holds the data, as it does of any device."""
        _wait("pickle")
        return self.detach().inner.__reduce_ex__(protocol)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"can't convert a {NAME}:0 tensor to numpy; use Tensor.cpu() first")

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        return self.numpy()


class Factories(TorchFunctionMode):
    """``torch.tensor`` and its kin, which torch builds below the dispatcher: on the CPU first, then moved."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.tolist and isinstance(args[0], SimTensor):
            _wait("tolist")
            return args[0].detach().inner.tolist()
        if func is torch.as_tensor and isinstance(args[0], torch.Tensor):
            return args[0].to(**kwargs) if kwargs else args[0]
        if func not in (torch.tensor, torch.as_tensor, torch.Tensor.new_tensor):
            return func(*args, **kwargs)
        device = kwargs.pop("device", None)
        if func is torch.Tensor.new_tensor:
            device = device or args[0].device
            made = torch.tensor(args[1], dtype=kwargs.pop("dtype", args[0].dtype), **kwargs)
        else:
            made = func(*args, **kwargs)
        return made if device is None else made.to(device)


@contextmanager
def pretended() -> Iterator[torch.device]:
    """The device, usable until the end of the block."""
    if not _libraries:
        raise RuntimeError("tests on the device lie in tests/devices, whose files have processes of their own")
    Backend.available = True
    try:
        # It has no allocator of its own whose cache could be emptied.
        with Factories(), mock.patch.object(torch.accelerator, "empty_cache", lambda: None):
            yield torch.device(NAME)
    finally:
        Backend.available = False


@contextmanager
def counted() -> Iterator[Waits]:
    """Counts the waits inside the block."""
    waits = Waits()
    _counters.append(waits)
    try:
        yield waits
    finally:
        _counters.remove(waits)


def install() -> None:
    """Register the device, which is not available yet."""
    if _libraries:
        return
    backend_registration._setup_privateuseone_for_python_backend(rename=NAME, backend_module=Backend())
    library = torch.library.Library("_", "IMPL")
    library.fallback(lambda func, *args, **kwargs: _run(func, args, kwargs), "PrivateUse1")
    library.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    _libraries.append(library)


def _wait(operation: str) -> None:
    if not _counters:
        return
    frame, inner = sys._getframe(1), None
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(SOURCES):
            break
        if inner is None and file != __file__ and "/torch/" not in file:
            inner = frame
        frame = frame.f_back
    frame = frame or inner
    place = "?" if frame is None else f"{frame.f_code.co_filename.removeprefix(f'{ROOT}/')}:{frame.f_lineno}"
    for waits in _counters:
        waits.places[f"{place} ({operation})"] += 1


def _waits(name: str, args: Any, kwargs: dict[str, Any]) -> bool:
    """Whether an operation on tensors of the device makes the host wait."""
    if name in WAITING:
        return True
    if name == "aten::_to_copy":
        device = kwargs.get("device")
        return device is not None and torch.device(device).type == "cpu"
    if name == "aten::copy_":
        return not isinstance(args[0], SimTensor)
    if name in INDEXING:  # a boolean index is turned into positions, except where one number fills a mask
        booleans = any(t is not None and t.dtype in (torch.bool, torch.uint8) for t in args[1])
        return booleans and (name == "aten::index" or args[2].numel() != 1)
    if name == "aten::repeat_interleave":
        return kwargs.get("output_size") is None
    return False


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """An operation on the CPU data of its tensors; what it gives is on the device where they are."""
    name = func._schema.name
    tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
    sims = [t for t in tensors if isinstance(t, SimTensor)]
    device = kwargs.get("device")
    target = None if device is None else torch.device(device).type
    mixed = any(not isinstance(t, SimTensor) and t.dim() for t in tensors)
    if sims and mixed and name not in COPIES | INDEXING:
        raise RuntimeError(f"Expected all tensors to be on the same device, but found {NAME}:0 and cpu ({name})")
    if sims and _waits(name, args, kwargs):
        _wait(name)
    plain_args, plain = tree_map(lambda t: t.inner if isinstance(t, SimTensor) else t, (args, kwargs))
    if target == NAME:
        plain["device"] = torch.device("cpu")
    plain.update({key: value for key, value in {"pin_memory": False, "generator": None}.items() if plain.get(key)})
    with torch._C._DisableTorchDispatch():
        result = func(*plain_args, **plain)
    if name == "aten::_to_copy":
        on_device = target == NAME or (bool(sims) and target != "cpu")
    elif name in COPIES:
        on_device = isinstance(args[0], SimTensor)
    else:
        on_device = bool(sims) if tensors and device is None else target == NAME
    same = {id(t.inner): t for t in sims}  # an operation in place hands back the object it was given

    def wrap(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        if id(value) in same:
            if same[id(value)].shape != value.shape:  # the operation has resized its output
                same[id(value)].data = SimTensor(value)
            return same[id(value)]
        return SimTensor(value) if on_device else value

    return tree_map(wrap, result)
