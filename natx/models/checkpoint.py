"""Checkpoints: tensors and plain types only, written atomically, never unpickled.

A run's weights are ``best.safetensors`` and ``last.safetensors`` under the upstream library's keys (they load in plain
timm); ``last.pth`` is the state needed to resume and loads with ``weights_only=True``.
"""

from __future__ import annotations

import json
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as save_bytes
from torch import Tensor, nn

from natx.errors import CheckpointError
from natx.runtime.files import write_atomic
from natx.task import Task

FORMAT = "natx-1"


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
    write_atomic(path, lambda file: torch.save(content, file))


def load_state(path: Path) -> dict[str, Any]:
    """Read what :func:`save_state` wrote; raises CheckpointError for anything else."""
    state = _load_safely(path)
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(f"{path} is no natx training state (format {FORMAT}): resume from a run's last.pth")
    return state


def save_weights(path: Path, task: Task, *, meta: dict[str, Any]) -> None:
    """Write a task's weights as safetensors under upstream keys, with ``meta`` as JSON in the header."""
    # Cloning gives every tensor its own storage, which safetensors asks for (tied weights).
    tensors = {k: v.detach().cpu().clone().contiguous() for k, v in task.upstream.state_dict().items()}
    content = save_bytes(tensors, metadata={"natx": json.dumps({"format": FORMAT, **meta})})
    write_atomic(path, lambda file: file.write(content))


def read_meta(path: Path) -> dict[str, Any]:
    """The ``meta`` of :func:`save_weights`; empty for files from elsewhere."""
    if path.suffix != ".safetensors":
        return {}
    with safe_open(path, framework="pt") as file:
        meta = json.loads((file.metadata() or {}).get("natx", "{}"))
    return meta if isinstance(meta, dict) else {}


def load_weights(task: Task, path: Path, *, without_head: bool = False) -> dict[str, Any]:
    """Load weights into ``task.upstream`` and return the file's natx meta (empty for upstream files).

    Args:
        task: gets the weights, and ``classes`` where the file names them.
        path: see :func:`read_tensors`.
        without_head: leave out weights of ``task.head`` that are missing or of another shape, for tests that do not
            need them; the meta then says so under "head".

    Raises:
        CheckpointError: missing, truncated, malicious, or weights of another architecture or class count.
    """
    tensors, meta = read_tensors(path)
    if without_head and task.head:
        initial = task.upstream.state_dict()
        head = [k for k in initial if k.startswith(task.head)]
        misfits = [k for k in head if k not in tensors or tensors[k].shape != initial[k].shape]
        if misfits:
            tensors = {k: v for k, v in tensors.items() if not k.startswith(task.head)}
            tensors.update({k: initial[k] for k in head})
            meta = {**meta, "head": f"{misfits[0]} of {Path(path).name} does not fit and was not loaded"}
    load_into(task.upstream, tensors, source=str(path))
    if meta.get("classes"):
        task.classes = tuple(meta["classes"])
    return meta


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state dict in a file and its natx meta (empty for upstream files).

    Accepts natx weights, safetensors, natx ``last.pth`` and plain state dicts (also nested under 'state_dict',
    'model' or 'weights', and with a 'module.' prefix). Nothing is unpickled.

    Raises:
        CheckpointError: missing, truncated or malicious.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}: give the path of a .safetensors or .pth file")
    if path.suffix == ".safetensors":
        try:
            return _without_prefix(load_file(path)), read_meta(path)
        except (SafetensorError, ValueError) as error:
            raise CheckpointError(f"{path} is truncated or no safetensors file ({_first_line(error)})") from error
    tensors, meta = _state_dict(_load_safely(path), path)
    return _without_prefix(tensors), meta


def load_into(module: nn.Module, tensors: dict[str, Tensor], *, source: str) -> None:
    """Strictly load a state dict; raises CheckpointError in one line where keys or shapes differ."""
    own = module.state_dict()
    missing, extra = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    shapes = [k for k in own.keys() & tensors.keys() if own[k].shape != tensors[k].shape]
    if missing or extra:
        raise CheckpointError(
            f"{source} is a checkpoint of another architecture: {len(missing)} keys missing (e.g. {missing[:2]}), "
            f"{len(extra)} unknown (e.g. {extra[:2]}); use the config it was trained with"
        )
    if shapes:
        k = sorted(shapes)[0]
        raise CheckpointError(
            f"{source} does not fit the model: {k} is {tuple(tensors[k].shape)}, expected {tuple(own[k].shape)} "
            f"({len(shapes)} such); check the number of classes and the model's size"
        )
    module.load_state_dict(tensors)


def _without_prefix(tensors: dict[str, Tensor], prefix: str = "module.") -> dict[str, Tensor]:
    """The state dict without the prefix that wrappers for several GPUs add to every key."""
    if tensors and all(k.startswith(prefix) for k in tensors):
        return {k[len(prefix) :]: v for k, v in tensors.items()}
    return tensors


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _load_safely(path: Path) -> Any:
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        name = re.search(r"GLOBAL ([\w.]{1,80})", str(error))
        raise CheckpointError(
            f"{path} holds Python objects{f' ({name[1]})' if name else ''} and was not loaded (they could run code), "
            "or is damaged: save the weights alone in the program that made it, "
            "torch.save(model.state_dict(), 'weights.pth')"
        ) from error
    except (RuntimeError, EOFError, zipfile.BadZipFile, ValueError, KeyError, OSError) as error:
        raise CheckpointError(f"{path} is truncated or no checkpoint ({_first_line(error)[:120]})") from error


def _state_dict(content: Any, path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    meta = {}
    if isinstance(content, dict) and content.get("format") == FORMAT:
        content, meta = content.get("weights"), content.get("meta", {})
    for key in ("state_dict", "model", "weights"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise CheckpointError(f"{path} holds no state dict of tensors")
    return content, meta
