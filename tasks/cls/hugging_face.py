"""Image classifiers of transformers: from a folder of theirs to a network, and back to a folder that they read."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from natx.errors import ConfigError
from natx.models.hub import DESCRIPTIONS, WEIGHTS

LIBRARY = "transformers"
CONFIG, PROCESSOR = DESCRIPTIONS
COLOURS, LEVELS = 3, 255
POSITIONS = "position_embeddings"
# Weights that tie a network to the size of its images.
TIED = re.compile(rf"{POSITIONS}|pos_embed|relative_position")
PLACES = ("_name_or_path", "transformers_version")  # of a config: where and by what it was read on this machine


def build(folder: Path, num_classes: int | None, *, image_size: int | None, arguments: dict[str, Any]) -> nn.Module:
    """The image classifier of a folder without its weights; ``pretrained_cfg`` has what its processor says of images.

    Args:
        folder: with ``config.json`` and ``preprocessor_config.json``.
        num_classes: outputs; as many as the folder's own by default.
        image_size: height and width of the images, where they are not to be the folder's.
        arguments: further settings of its config.

    Raises:
        ConfigError: transformers is not installed, or the folder is none of its image classifiers.
    """
    library = _library(folder)
    changes = {} if num_classes is None else {"num_labels": num_classes}
    try:
        settings = library.AutoConfig.from_pretrained(str(folder), **changes, **arguments)
        if hasattr(settings, "image_size") and image_size is not None:
            settings.image_size = image_size
        net = library.AutoModelForImageClassification.from_config(settings)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{folder} is no image classifier of transformers: {_one_line(error)}") from error
    processor = _json(folder / PROCESSOR)
    mean, std = statistics(processor)
    sizes = [image_size, processor.get("crop_size"), processor.get("size"), getattr(settings, "image_size", None)]
    size = next(filter(None, map(_side, sizes)), None)
    net.pretrained_cfg = {
        **({"mean": mean, "std": std} if mean and std else {}),
        **({"input_size": (COLOURS, size, size)} if size else {}),
        "fixed_input_size": any(TIED.search(name) for name in net.state_dict()),
        "processor": processor,
    }
    return net


def theirs(net: nn.Module) -> bool:
    """Whether a network is one of transformers."""
    return any(kind.__module__.partition(".")[0] == LIBRARY for kind in type(net).__mro__)


def statistics(processor: dict[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]] | tuple[None, None]:
    """Mean and std a channel, of pixels in [0,1], of what a processor does to pixels in 0..255.

    It multiplies by ``rescale_factor`` (1/255), takes 1 off with ``rescale_offset``, and normalises, each where its
    description says so; None where it normalises by values that it does not name.
    """
    scale = LEVELS * float(processor.get("rescale_factor", 1 / LEVELS)) if processor.get("do_rescale", True) else LEVELS
    shift = 1.0 if processor.get("rescale_offset") else 0.0
    mean, std = processor.get("image_mean"), processor.get("image_std")
    if not processor.get("do_normalize", True):
        mean, std = [0.0] * COLOURS, [1.0] * COLOURS
    if not mean or not std:
        return None, None
    return tuple((value + shift) / scale for value in mean), tuple(value / scale for value in std)


def convert(net: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A file's weights under the network's names, as transformers itself renames those of its older versions.

    Position embeddings of another size are resampled; what the file lacks is left out.
    """
    names = net.state_dict()
    if tensors.keys() == names.keys():
        return _resampled(net, names, tensors)
    try:
        with _quiet(), torch.random.fork_rng(devices=[]):  # what is missing would be drawn
            read, report = type(net).from_pretrained(
                None,
                config=net.config,
                state_dict=dict(tensors),
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
    except Exception:  # of a file that is none of theirs it may raise anything: loading then says why
        return tensors
    misfits = [entry[0] if isinstance(entry, (tuple, list)) else entry for entry in report["mismatched_keys"]]
    absent = {*report["missing_keys"], *misfits}
    fitting = {name: tensor for name, tensor in read.state_dict().items() if name not in absent}
    unknown = {name: tensors[name] for name in report["unexpected_keys"] if name in tensors}
    converted = {**fitting, **unknown, **{name: tensors[name] for name in misfits if name in tensors}}
    return _resampled(net, names, converted) if converted.keys() == names.keys() else converted


def folder_content(net: Any, classes: tuple[str, ...] | None, normalisation: dict[str, list[float]]) -> dict[str, Any]:
    """What transformers reads a network from: its tensors, named as in their files, and the descriptions beside them.

    Args:
        net: a network of theirs.
        classes: names of its classes in label order, where they are known.
        normalisation: ``mean`` and ``std`` of pixels in [0,1].

    Returns:
        By file name: tensors by name, or the content of a JSON.
    """
    with tempfile.TemporaryDirectory() as folder, _quiet():
        net.save_pretrained(folder, safe_serialization=True)
        tensors = load_file(Path(folder, WEIGHTS[0]))
        config = _json(Path(folder, CONFIG))
    config = {key: value for key, value in config.items() if key not in PLACES}
    if classes:
        config["id2label"] = {str(i): name for i, name in enumerate(classes)}
        config["label2id"] = {name: i for i, name in enumerate(classes)}
    described = net.pretrained_cfg
    _, height, width = described.get("input_size") or (COLOURS, None, None)
    processor = {
        **described.get("processor", {}),
        "do_rescale": True,
        "rescale_factor": 1 / LEVELS,
        "rescale_offset": False,
        "do_normalize": True,
        "image_mean": normalisation["mean"],
        "image_std": normalisation["std"],
        **({"size": {"height": height, "width": width}} if described.get("fixed_input_size") and height else {}),
    }
    return {WEIGHTS[0]: tensors, CONFIG: config, PROCESSOR: processor}


def _library(folder: Path) -> Any:
    try:
        return import_module(LIBRARY)
    except ImportError as error:
        raise ConfigError(f"{folder} holds a model of {LIBRARY}, which is not here: pip install {LIBRARY}") from error


def _resampled(net: Any, names: dict[str, Tensor], tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with position embeddings of as many patches as the network has."""
    side, patch = getattr(net.config, "image_size", None), getattr(net.config, "patch_size", None)
    if not isinstance(side, int) or not isinstance(patch, int):
        return tensors
    grid = side // patch
    changed = {}
    for name, new in names.items():
        old = tensors[name]
        if name.endswith(POSITIONS) and old.dim() == new.dim() == 3 and old.shape != new.shape:
            others = new.shape[1] - grid**2  # of the class, and of distillation
            changed[name] = resample_abs_pos_embed(old, [grid, grid], num_prefix_tokens=others)
    return {**tensors, **changed}


def _side(size: Any) -> int | None:
    """The side of a square in a processor's words: a number, or ``height`` or ``shortest_edge`` of a dict."""
    if isinstance(size, dict):
        size = size.get("height") or size.get("shortest_edge")
    return size if isinstance(size, int) else None


def _json(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' bars and its table of weights."""
    chatter = import_module(f"{LIBRARY}.utils.logging")
    level, bars = chatter.get_verbosity(), chatter.is_progress_bar_enabled()
    chatter.set_verbosity(chatter.CRITICAL)
    chatter.disable_progress_bar()
    try:
        yield
    finally:
        chatter.set_verbosity(level)
        if bars:
            chatter.enable_progress_bar()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
