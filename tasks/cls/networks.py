"""Networks from anywhere: one's own class, torchvision, a folder or repository of timm's or Hugging Face's layout."""

from __future__ import annotations

import difflib
import json
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn
from torchvision import models as torchvision_models

from natx.errors import CheckpointError, ConfigError
from natx.models.hub import model_folder
from natx.models.weights import WeightFile, read_weights
from tasks.cls import hugging_face
from tasks.cls.anatomy import classifier
from tasks.cls.models import create_model, own_classes
from tasks.cls.weights import take_weights

TORCHVISION = "torchvision:"
COLOURS = 3


def build_network(
    model: str | dict[str, Any] | nn.Module,
    *,
    num_classes: int | None,
    pretrained: bool = False,
    weights: WeightFile | None = None,
    new_head: bool = False,
    image_size: int | None = None,
    **arguments: Any,
) -> nn.Module:
    """A classifier of normalised pixels; ``pretrained_cfg`` says how they are normalised, where the source does.

    Args:
        model: a name of :func:`tasks.cls.models.create_model`; ``torchvision:resnet18``; ``local-dir:folder`` or
            ``hf-hub:owner/name`` of timm's layout or of a Hugging Face image classifier;
            ``dict(type="my_package.MyNet", ...)``, a class of one's own with its arguments; or a module.
        num_classes: outputs; by default as many as the source has.
        pretrained: take the source's weights, where it has some.
        weights: those of a file instead.
        new_head: see :func:`tasks.cls.models.create_model`.
        image_size: passed on to networks that are tied to a size.
        arguments: further ones of the builder.

    Raises:
        ConfigError: an unknown name, or settings that do not fit.
        CheckpointError: weights that cannot be had or do not fit.
    """
    if isinstance(model, str) and (folder := model_folder(model)) is not None:
        described = _json(folder / "config.json")
        weights = read_weights(folder) if pretrained and weights is None else weights
        if isinstance(described.get("architecture"), str):  # timm's layout
            arguments = {**(described.get("model_args") or {}), **arguments}
            architecture = described["architecture"]
            timms: Any = create_model(
                architecture,
                num_classes=num_classes or described.get("num_classes") or own_classes(architecture),
                weights=weights,
                new_head=new_head,
                image_size=image_size,
                **arguments,
            )
            # What it was built with is nowhere else once the folder is gone.
            timms.pretrained_cfg = timms.default_cfg = {**timms.pretrained_cfg, "model_args": arguments}
            return timms
        if not described:
            raise CheckpointError(f"{model} has no config.json: a folder of timm's, transformers' or natx's has one")
        net = hugging_face.build(folder, num_classes, image_size=image_size, arguments=arguments)
    elif isinstance(model, str) and model.startswith(TORCHVISION):
        net, official = _torchvision(model, num_classes, image_size=image_size, arguments=arguments)
        if pretrained and weights is None:
            weights = _downloaded(model, official)
    elif isinstance(model, str):
        count = own_classes(model) if num_classes is None else num_classes
        return create_model(
            model,
            num_classes=count,
            pretrained=pretrained,
            weights=weights,
            new_head=new_head,
            image_size=image_size,
            **arguments,
        )
    else:
        net = model if isinstance(model, nn.Module) else _own(model, arguments)
        if isinstance(model, nn.Module) and arguments:
            raise ConfigError(
                f"{network_name(model)} is made already: its arguments ({', '.join(arguments)}) are too late"
            )
        if pretrained:
            raise ConfigError(f"{network_name(model)} has no pretrained weights: give task.checkpoint=<file>")
    if weights is not None:
        take_weights(net, network_name(model), weights, new_head=new_head)
    return net


def network_name(model: str | dict[str, Any] | nn.Module) -> str:
    """What messages call a network."""
    if isinstance(model, nn.Module):
        return type(model).__name__
    return model if isinstance(model, str) else str(model.get("type"))


def head_size(net: nn.Module) -> int | None:
    """The number of classes of a network's last linear layer; None where it has none."""
    try:
        return classifier(net).out_features
    except ConfigError:
        return None


def _own(model: dict[str, Any], arguments: dict[str, Any]) -> nn.Module:
    """An object of a class of one's own, which is imported by its dotted name."""
    settings = {**model, **arguments}
    name = settings.pop("type", None)
    module, _, kind = str(name).rpartition(".")
    if not isinstance(name, str) or not module:
        raise ConfigError(f"a network of your own is dict(type='my_package.MyNet', ...); got type={name!r}")
    try:
        build = getattr(import_module(module), kind)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"model {name} cannot be imported ({error}): its module is to be in the working folder or on PYTHONPATH"
        ) from error
    try:
        net = build(**settings)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"model {name} cannot be built: {error}") from error
    if not isinstance(net, nn.Module):
        raise ConfigError(f"model {name} is {type(net).__name__}, expected a torch.nn.Module")
    return net


def _torchvision(
    model: str, num_classes: int | None, *, image_size: int | None, arguments: dict[str, Any]
) -> tuple[nn.Module, Any]:
    """A network of torchvision without its weights, and what these are."""
    name = model.removeprefix(TORCHVISION)
    known = torchvision_models.list_models(module=torchvision_models)
    if name not in known:
        close = difflib.get_close_matches(name, known, n=3)
        raise ConfigError(f"unknown model {model!r}" + (f"; close: {', '.join(close)}" if close else ""))
    official = torchvision_models.get_model_weights(name).DEFAULT
    preset, fixed = official.transforms(), name.startswith("vit_")
    size = image_size or preset.crop_size[0]
    arguments = {**({"image_size": size} if fixed else {}), **arguments}
    count = len(official.meta["categories"]) if num_classes is None else num_classes
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of how some of their weights are drawn
            net = torchvision_models.get_model(name, weights=None, num_classes=count, **arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"model {model!r} cannot be built: {' '.join(str(error).split())}") from error
    mean, std = preset.mean, preset.std
    if getattr(net, "transform_input", None) is False:
        # Inception's weights are of pixels from -1 to 1. torchvision turns normalised images into these inside the
        # network, where it is built with its weights; natx normalises so from the start, whatever the weights are.
        mean = std = (0.5,) * COLOURS
    _say(net, mean=mean, std=std, size=size, fixed=fixed)
    return net, official


def _downloaded(model: str, official: Any) -> WeightFile:
    try:
        return WeightFile(Path(official.url).with_suffix(""), official.get_state_dict(progress=False, check_hash=True))
    except (OSError, RuntimeError) as error:
        raise CheckpointError(
            f"no pretrained weights for {model!r}: connect to the internet so that torchvision downloads "
            f"{official.url}, or give task.checkpoint=<path to a local copy> ({type(error).__name__})"
        ) from error


def _say(net: Any, *, mean: Any, std: Any, size: int | None, fixed: bool) -> None:
    """What :func:`tasks.cls.anatomy.normalisation` and its neighbours read."""
    net.pretrained_cfg = {
        **({"mean": tuple(mean), "std": tuple(std)} if mean and std else {}),
        **({"input_size": (COLOURS, size, size)} if size else {}),
        "fixed_input_size": fixed,
    }


def _json(file: Path) -> dict[str, Any]:
    """A description in a model's folder; empty where it is not there."""
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} is no readable JSON ({error})") from error
    return content if isinstance(content, dict) else {}
