"""Weight files of any program: which entry holds the weights, under which names, and what lies beside them.

There is this one reader, whatever the weights are for: a test, a start, an adversary, a teacher, :func:`natx.load`.
"""

from __future__ import annotations

import glob
import json
import pickle
import re
import zipfile
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from natx.errors import CheckpointError, ConfigError
from natx.models.hub import WEIGHTS, model_folder

FORMAT = "natx-1"  # of natx's own files
# Entries of training programs' files that hold a state dict, and those that hold an average of the weights.
RAW = ("state_dict", "model_state_dict", "model", "weights", "net", "network", "params", "model_state", "module")
AVERAGED = (
    *("state_dict_ema", "model_ema", "ema_state_dict", "model_state_dict_ema", "ema_model", "net_ema", "params_ema"),
    "ema",
)
RUN = "best.safetensors"  # those in a run's
DESCRIPTION = "config.json"  # what such a folder says of them
DONE = "done.json"  # what a finished training leaves in its folder
STORE = "adversaries"  # where the models that trainings need first lie, beside the work dirs
COMPILED = "_orig_mod."  # what torch.compile puts before the names inside a module
AVERAGE_COUNT = "n_averaged"  # torch.optim.swa_utils.AveragedModel's own counter, no weight
# A task's settings that say where other weights lie, and what they are where those of a file take their place.
SOURCES: dict[str, Any] = {"pretrained": False, "checkpoint": None, "checkpoint_ema": False, "new_head": False}
DEEPEST, NAMED = 3, 8  # entries inside entries; names in a message
# What numpy's scalars and arrays are made by, as training programs leave them beside the weights (an accuracy).
NUMPY = (
    "dtype",
    "ndarray",
    *(f"{core}.multiarray.{made}" for core in ("core", "_core") for made in ("scalar", "_reconstruct")),
)
HALF = (torch.float16, torch.bfloat16)
Statistics = tuple[tuple[float, ...], tuple[float, ...]]  # mean and std a channel
NORMALISATION = (("mu", "sigma"), ("mean", "std"))  # what a layer before the network calls them
CHANNELS = 4  # of an image, at most


@dataclass(frozen=True)
class WeightFile:
    """The weights in a file.

    Attributes:
        path: of the file.
        tensors: the state dict, under the names that the file has, without ``layer``.
        meta: natx's own description; empty for files of other programs.
        entry: which entry of the file the state dict is, as ``model`` or ``ema.module``; empty where it is the whole.
        others: other entries that hold weights and were left alone.
        described: the content of the ``config.json`` beside the weights of a folder; empty where there is none.
        layer: mean and std of a layer that normalises the pixels, under their names in the file; empty where the state
            dict has none. They are weights of a network that has such a layer itself; of others it came before them.
    """

    path: Path
    tensors: dict[str, Tensor]
    meta: dict[str, Any] = field(default_factory=dict)
    entry: str = ""
    others: tuple[str, ...] = ()
    described: dict[str, Any] = field(default_factory=dict)
    layer: dict[str, Tensor] = field(default_factory=dict)

    @property
    def half(self) -> list[str]:
        """Types of half precision that the file holds weights in."""
        return list(
            dict.fromkeys(str(t.dtype).removeprefix("torch.") for t in self.tensors.values() if t.dtype in HALF)
        )

    @property
    def source(self) -> str:
        """What was taken from where, in words for logs and reports."""
        text = f"entry {self.entry} of {self.path.name}" if self.entry else self.path.name
        return f"{text} (not {', '.join(self.others)})" if self.others else text

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes in label order, where the file or its folder has them."""
        names = self.meta.get("classes") or self.described.get("label_names") or ()
        return tuple(names.values() if isinstance(names, dict) else names) or _labels(self.described.get("id2label"))

    def normalisation(self, names: Collection[str]) -> Statistics | None:
        """Mean and standard deviation a channel, of pixels in [0,1], where the file or its folder names them.

        Args:
            names: of the network's weights. What a layer of its own does is none of the task's.
        """
        for settings in (self.meta.get("normalisation"), self.described.get("pretrained_cfg"), self.described):
            if isinstance(settings, dict) and settings.get("mean") and settings.get("std"):
                mean, std = (tuple(float(value) for value in settings[key]) for key in ("mean", "std"))
                return mean, std
        if not self.layer or self._read(names)[1]:
            return None
        mean, std = (tuple(tensor.flatten().tolist()) for tensor in self.layer.values())
        return mean, std

    def under(self, names: Collection[str]) -> dict[str, Tensor]:
        """The tensors, without what wrappers put before every name, where that makes more of them be in ``names``."""
        return self._read(names)[0]

    def _read(self, names: Collection[str]) -> tuple[dict[str, Tensor], bool]:
        """:meth:`under`, and whether the normalising layer is among them: where the network has such a layer itself."""
        forms = [(tensors, False) for tensors in (self.tensors, *_unwrapped(self.tensors))]
        if self.layer:
            forms += [(tensors, True) for tensors in _unwrapped({**self.tensors, **self.layer})]
        return max(forms, key=lambda form: len(form[0].keys() & set(names)))  # the first of equal ones


def _labels(names: Any) -> tuple[str, ...]:
    """Names of classes as transformers numbers them; none where they only count, or where two classes share one."""
    if not isinstance(names, dict) or not all(str(key).isdecimal() for key in names):
        return ()
    ordered = tuple(str(names[key]) for key in sorted(names, key=int))
    counted = all(re.fullmatch(r"LABEL_\d+", name) for name in ordered)
    return () if counted or len(set(ordered)) < len(ordered) else ordered


def weights_path(path: str | Path) -> Path:
    """The file of weights: ``path`` itself, the one in the folder ``path``, or the one in the repository it names.

    ``hf-hub:owner/name`` and ``local-dir:folder`` are read as :func:`natx.models.hub.model_folder` says. A finished
    model that another training needed first is found by the name of its config too:
    ``work_dirs/digits_vt/best.safetensors`` is ``work_dirs/adversaries/digits_vt-<fingerprint>/best.safetensors`` where
    the former does not exist and there is one of the latter.

    Raises:
        CheckpointError: there is none, or several were stored under that name.
    """
    if (folder := model_folder(path)) is not None:
        if files := weight_files(folder):
            return files[0]
        raise CheckpointError(f"{path} has no {' or '.join(WEIGHTS)}: natx export, timm and transformers write them")
    path = Path(path)
    stored = [] if path.exists() else stored_weights(path)
    if len(stored) > 1:
        raise CheckpointError(f"no checkpoint at {path}, and several of that name: {', '.join(map(str, stored))}")
    if stored:
        return stored[0]
    if path.is_dir():
        if files := weight_files(path):
            return files[0]
        raise CheckpointError(
            f"{path} has no {', '.join(WEIGHTS)} or {RUN}: give the path of a .safetensors or .pth file"
        )
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}: give the path of a .safetensors or .pth file")
    return path


def stored_weights(path: Path) -> list[Path]:
    """Finished frozen models that ``<folder>/<config name>/<file>`` may mean: in ``<folder>`` and in its store."""
    name, folder = path.parent.name, path.parent.parent
    return [
        place / path.name
        for above in (folder / STORE, folder)
        for place in sorted(above.glob(f"{glob.escape(name)}-*"))
        if re.fullmatch(r"[0-9a-f]{16}", place.name[len(name) + 1 :])
        and (place / DONE).is_file()
        and (place / path.name).is_file()
    ]


def weight_files(folder: Path) -> list[Path]:
    """The files that are read of a folder of weights: these, and what describes them; none of any other folder."""
    weights = next((folder / name for name in (*WEIGHTS, RUN) if (folder / name).is_file()), None)
    described = [folder / DESCRIPTION] if weights is not None and weights.name in WEIGHTS else []
    return [file for file in (weights, *described) if file is not None and file.is_file()]


def read_weights(path: str | Path, *, ema: bool = False) -> WeightFile:
    """Read weights from safetensors, a natx ``last.pth``, a state dict, or a file with one among its entries.

    Entries are those of :data:`RAW`, also inside one another. An average of the weights (:data:`AVERAGED`) is taken
    only where it is asked for. Nothing is unpickled but tensors and plain containers.

    Args:
        path: the file, or a folder with ``model.safetensors`` or ``pytorch_model.bin``, as timm's ``save_for_hf`` and
            ``natx export`` write it, whose ``config.json`` is read too; or ``hf-hub:owner/name``, see
            :func:`weights_path`.
        ema: take the average of the weights.

    Raises:
        CheckpointError: missing, truncated or malicious, or without the weights that are asked for.
    """
    path = weights_path(path)
    described = _description(path)
    if path.suffix == ".safetensors":
        try:
            tensors, meta = load_file(path), read_meta(path)
        except (SafetensorError, ValueError) as error:
            raise CheckpointError(f"{path} is truncated or no safetensors file ({_first_line(error)})") from error
        if ema and not meta.get("ema"):
            raise CheckpointError(f"{path} holds no average of weights: leave ema out")
        tensors, layer = _without_normalisation(tensors)
        return WeightFile(path, tensors, meta, described=described, layer=layer)
    content = load_safely(path)
    if isinstance(content, dict) and content.get("format") == FORMAT:
        meta = content.get("meta", {})
        if not _is_state_dict(content.get("weights")) or (ema and not meta.get("ema")):
            raise CheckpointError(f"{path} holds no state dict of {'averaged weights' if ema else 'tensors'}")
        return WeightFile(path, content["weights"], meta)
    tensors, entry = _entry(content, path, ema=ema)
    tensors, layer = _without_normalisation(tensors)
    top = entry.split(".")[0]
    others = tuple(key for key in (*RAW, *AVERAGED) if entry and key != top and _holds_weights(content.get(key)))
    return WeightFile(path, tensors, entry=entry, others=others, described=described, layer=layer)


def named_weights(checkpoint: str | Path | None, *, ema: bool) -> WeightFile | None:
    """The weights that a task's ``checkpoint`` names, see :func:`read_weights`; None where it names none.

    Raises:
        CheckpointError: see :func:`read_weights`.
        ConfigError: the average of weights that nothing names.
    """
    if checkpoint is not None:
        return read_weights(checkpoint, ema=ema)
    if ema:
        raise ConfigError("task.checkpoint_ema takes the average in a file: name it, task.checkpoint=<file>")
    return None


def read_meta(path: Path) -> dict[str, Any]:
    """What natx writes about the weights in a safetensors file; empty for other files."""
    if path.suffix != ".safetensors":
        return {}
    with safe_open(path, framework="pt") as file:
        meta = json.loads((file.metadata() or {}).get("natx", "{}"))
    return meta if isinstance(meta, dict) else {}


class Inert:
    """Stands in for an object of numpy that a file asks for: it takes whatever it is given and keeps nothing."""

    def __init__(self, *content: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def load_safely(path: Path) -> Any:
    """The content of a torch file: tensors and plain containers; raises CheckpointError for anything else.

    numpy's scalars and arrays come as :class:`Inert`: nothing of numpy is called.
    """
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}")
    try:
        with torch.serialization.safe_globals([(Inert, f"numpy.{name}") for name in NUMPY]):
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


def without_weights(settings: dict[str, Any]) -> dict[str, Any]:
    """A task's settings with nothing to load or download, for weights that are loaded afterwards."""
    return {key: SOURCES.get(key, value) for key, value in settings.items()}


def few(names: Iterable[str]) -> str:
    """The first of some names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _entry(content: Any, path: Path, *, ema: bool) -> tuple[dict[str, Tensor], str]:
    """(state dict, where it is in the file) of the raw or averaged weights."""
    if _is_state_dict(content) and not ema:
        return content, ""
    if isinstance(content, dict):
        for key in AVERAGED if ema else RAW:
            if (inside := _inside(content.get(key), key)) is not None:
                return inside
    entries = content if isinstance(content, dict) else {}
    present = f"the entries {few(_entries(entries))}" if entries else f"a {type(content).__name__} without entries"
    averages = [key for key in AVERAGED if _holds_weights(entries.get(key))]
    remedy = f"; {averages[0]} is an average of weights: ask for it with ema=True (--ema)" if averages else ""
    kind = "averaged weights" if ema else "tensors"
    raise CheckpointError(f"{path} holds no state dict of {kind}: it has {present}{'' if ema else remedy}")


def _inside(content: Any, name: str, depth: int = 1) -> tuple[dict[str, Tensor], str] | None:
    """The state dict that an entry is, or has under one of the usual names."""
    if _is_state_dict(content):
        return content, name
    if isinstance(content, dict) and depth < DEEPEST:
        for key in RAW:
            if (inside := _inside(content.get(key), f"{name}.{key}", depth + 1)) is not None:
                return inside
    return None


def _holds_weights(content: Any) -> bool:
    return _inside(content, "") is not None


def _is_state_dict(content: Any) -> bool:
    return isinstance(content, dict) and bool(content) and all(isinstance(value, Tensor) for value in content.values())


def _entries(content: dict[Any, Any]) -> list[str]:
    """The entries of a file, with what those hold that could be weights."""
    inside = {key: value.values() if isinstance(value, dict) else () for key, value in content.items()}
    counts = {key: sum(isinstance(value, Tensor) for value in values) for key, values in inside.items()}
    return [f"{key} ({count} tensors)" if count else str(key) for key, count in counts.items()]


def _unwrapped(tensors: dict[str, Tensor]) -> Iterable[dict[str, Tensor]]:
    """The state dict without torch.compile's marks, then without the first part of its names while all share it."""
    tensors = {key.replace(COMPILED, ""): value for key, value in tensors.items() if key != AVERAGE_COUNT}
    yield tensors
    while tensors and len(firsts := {key.partition(".")[0] for key in tensors}) == 1:
        prefix = f"{firsts.pop()}."
        if not all(key.startswith(prefix) for key in tensors):
            return
        tensors = {key[len(prefix) :]: value for key, value in tensors.items()}
        yield tensors


def _without_normalisation(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A state dict without the mean and std of a layer that normalises pixels of [0,1], and these.

    RobustBench's models have them as ``mu`` and ``sigma``, others as ``normalize.mean`` and ``normalize.std``.
    """
    for mean_name, std_name in NORMALISATION:
        for key in tensors:
            before, name, after = key.rpartition(mean_name)
            other = before + std_name
            if not name or after or not (before == "" or before.endswith(".")) or other not in tensors:
                continue
            mean, std = (tensors[k].flatten().tolist() for k in (key, other))
            if len(mean) == len(std) <= CHANNELS and all(0 <= m <= 1 for m in mean) and all(0 < s <= 1 for s in std):
                layer = {k: tensors[k] for k in (key, other)}
                return {k: v for k, v in tensors.items() if k not in layer}, layer
    return tensors, {}


def _description(path: Path) -> dict[str, Any]:
    """The ``config.json`` beside the weights of a folder that timm or an export wrote; empty where there is none."""
    file = path.with_name(DESCRIPTION)
    if path.name not in WEIGHTS or not file.is_file():
        return {}
    try:
        described = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{file} is no readable JSON ({_first_line(error)}): it says how pixels are normalised"
        ) from error
    return described if isinstance(described, dict) else {}


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
