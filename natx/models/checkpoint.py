"""Checkpoints: tensors and plain types only, written atomically, never unpickled.

A run's weights are ``best.safetensors`` and ``last.safetensors`` under the upstream library's keys (they load in plain
timm); ``last.pth`` is the state needed to resume and loads with ``weights_only=True``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as save_bytes
from torch import Tensor, nn

from natx.errors import CheckpointError
from natx.models.weights import FORMAT, WeightFile, few, load_safely, read_weights
from natx.runtime.files import write_atomic
from natx.task import Task


def plain(value: Any) -> Any:
    """A copy made of tensors and plain Python types; numpy scalars become numbers, unknown types are refused."""
    if isinstance(value, Tensor):
        return value.detach()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value.item() if isinstance(value, np.generic) else value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {k if isinstance(k, (int, str)) else str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(plain(v) for v in value) if type(value) in (list, tuple) else [plain(v) for v in value]
    raise TypeError(f"a checkpoint holds tensors and plain types only; got {type(value).__name__}")


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write training state atomically, readable with ``torch.load(weights_only=True)``."""
    content = plain({"format": FORMAT, **state})
    write_atomic(path, lambda file: torch.save(content, file), size=_bytes(content))


def _bytes(content: Any) -> int:
    """The size of all tensors in plain containers."""
    if isinstance(content, Tensor):
        return content.nbytes
    values = content.values() if isinstance(content, dict) else content if isinstance(content, (list, tuple)) else ()
    return sum(map(_bytes, values))


def load_state(path: Path) -> dict[str, Any]:
    """Read what :func:`save_state` wrote; raises CheckpointError for anything else."""
    state = load_safely(path)
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(f"{path} is no natx training state (format {FORMAT}): resume from a run's last.pth")
    return state


def save_weights(path: Path, task: Task, *, meta: dict[str, Any]) -> None:
    """Write a task's weights as safetensors under upstream keys, with ``meta`` as JSON in the header."""
    save_tensors(path, task.upstream.state_dict(), header={"natx": json.dumps({"format": FORMAT, **meta})})


def save_tensors(path: Path, tensors: dict[str, Tensor], *, header: dict[str, str]) -> None:
    """Write tensors as safetensors, atomically, with a header of texts."""
    # Cloning gives every tensor its own storage, which safetensors asks for (tied weights).
    copies = {k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}
    content = save_bytes(copies, metadata=header)
    write_atomic(path, lambda file: file.write(content), size=len(content))


def load_weights(task: Task, path: str | Path, *, without_head: bool = False, ema: bool = False) -> dict[str, Any]:
    """Load weights into ``task.upstream`` and return what the file says of itself.

    Args:
        task: gets the weights, and ``classes`` and normalisation where the file names them.
        path: see :func:`natx.models.weights.read_weights`.
        without_head: leave out weights of ``task.head`` that are missing or of another shape, for tests that do not
            need them; the meta then says so under "head".
        ema: take the average of the weights.

    Returns:
        natx's meta of the file (none of other programs' files), and "weights": what was taken from which file; "half"
        where these are in half precision, of which the task gets a float32 copy.

    Raises:
        CheckpointError: missing, truncated, malicious, or weights of another architecture or class count.
    """
    file = read_weights(path, ema=ema)
    tensors, source = fitted(task, file)
    meta = {**file.meta, "weights": source, **({"half": file.half} if file.half else {})}
    if (statistics := file.normalisation(task.upstream.state_dict())) is not None:
        meta["normalisation"] = dict(zip(("mean", "std"), map(list, statistics)))
    if without_head and task.head:
        initial = task.upstream.state_dict()
        head = [k for k in initial if k.startswith(task.head)]
        misfits = [k for k in head if k not in tensors or tensors[k].shape != initial[k].shape]
        if misfits:
            tensors = {k: v for k, v in tensors.items() if not k.startswith(task.head)}
            tensors.update({k: initial[k] for k in head})
            meta = {**meta, "head": f"{misfits[0]} of {file.path.name} does not fit and was not loaded"}
    _take(task, file, tensors)
    return meta


def adopt_backbone(task: Task, file: WeightFile) -> str:
    """Start a task from the backbone of a classifier, normalised as there; returns what was taken, in words.

    Raises:
        ConfigError: the task has no such part.
        CheckpointError: weights of another architecture.
    """
    names = task.backbone.state_dict()
    task.load_backbone(file.under(names), source=str(file.path))
    if (statistics := file.normalisation(names)) is not None:
        task.adopt_normalisation(*statistics)
    return f"the backbone of {file.source}"


def adopt(task: Task, file: WeightFile) -> str:
    """Load a file's weights, class names and normalisation into a task; returns what was taken, in words.

    Raises:
        CheckpointError: see :func:`load_into`.
    """
    tensors, source = fitted(task, file)
    _take(task, file, tensors)
    return source


def _take(task: Task, file: WeightFile, tensors: dict[str, Tensor]) -> None:
    load_into(task.upstream, tensors, source=str(file.path))
    if file.classes:
        task.classes = file.classes
    if (statistics := file.normalisation(task.upstream.state_dict())) is not None:
        task.adopt_normalisation(*statistics)


def fitted(task: Task, file: WeightFile) -> tuple[dict[str, Tensor], str]:
    """A file's weights under the names of ``task.upstream``, and what they are in words for logs and reports.

    Names that do not fit are converted where the task's library knows how (:meth:`natx.task.Task.convert`).
    """
    names = task.upstream.state_dict().keys()
    tensors = file.under(names)
    if _weights(tensors) != _weights(names):
        converted = task.convert(tensors)
        if len(converted.keys() ^ names) < len(tensors.keys() ^ names):
            return converted, f"{file.source}, converted"
    return tensors, file.source


def load_into(module: nn.Module, tensors: dict[str, Tensor], *, source: str) -> None:
    """Strictly load a state dict as torch does; a module that refuses it stays as it was.

    Raises:
        CheckpointError: in one line, which keys or shapes differ.
    """
    initial = {key: value.clone() for key, value in module.state_dict().items() if isinstance(value, Tensor)}
    counters = {key: value for key, value in initial.items() if is_counter(key) and key not in tensors}
    try:
        module.load_state_dict({**tensors, **counters})
    except RuntimeError as error:
        state = module.state_dict()
        with torch.no_grad():
            for key, value in initial.items():
                state[key].copy_(value)
        raise CheckpointError(_misfit(initial, tensors, source=source, reason=error)) from error


def _misfit(initial: dict[str, Tensor], tensors: dict[str, Tensor], *, source: str, reason: Exception) -> str:
    """Why a module's strict loading refused a state dict."""
    absent, unknown = sorted(_weights(initial) - tensors.keys()), sorted(_weights(tensors) - initial.keys())
    if absent or unknown:
        return (
            f"{source} is a checkpoint of another architecture: {len(absent)} keys missing (e.g. {absent[:2]}), "
            f"{len(unknown)} unknown (e.g. {unknown[:2]}); it has {few(tensors)}; use the config it was trained with"
        )
    shapes = sorted(k for k in initial.keys() & tensors.keys() if initial[k].shape != tensors[k].shape)
    if shapes:
        k = shapes[0]
        return (
            f"{source} does not fit the model: {k} is {tuple(tensors[k].shape)}, expected {tuple(initial[k].shape)} "
            f"({len(shapes)} such); check the number of classes and the model's size"
        )
    return f"{source} does not fit the model ({' '.join(str(reason).split())[:200]})"


def is_counter(name: str) -> bool:
    """Whether a name is of a counter of batch norm, which is no weight: files written before torch 0.4.1 lack them."""
    return name.endswith("num_batches_tracked")


def _weights(names: Iterable[str]) -> set[str]:
    """The names but for batch norm's counters."""
    return {name for name in names if not is_counter(name)}
