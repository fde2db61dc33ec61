"""The only importer of torchreid: the 0.2.5 package (``torchreid.reid``) and the older layout (``torchreid``)."""

from __future__ import annotations

import importlib
import inspect
import warnings
from types import ModuleType

from torch import nn

from natx.errors import ConfigError


def _models() -> ModuleType:
    """torchreid's models module.

    Raises:
        ConfigError: torchreid, or something it imports, is not installed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its ranking warns about a missing Cython extension; natx has its own ranking
        errors = []
        for name in ("torchreid.reid.models", "torchreid.models"):
            try:
                return importlib.import_module(name)
            except ImportError as error:
                errors.append(str(error))
    raise ConfigError(f"person re-identification needs torchreid ({errors[0]}): pip install -e '.[reid]'")


def build_model(name: str, *, num_classes: int, pretrained: bool) -> nn.Module:
    """A torchreid model whose training forward gives (identity logits, features).

    Args:
        name: any name in torchreid's model zoo.
        num_classes: number of identities.
        pretrained: torchreid's ImageNet weights (downloaded by torchreid into its own cache).

    Raises:
        ConfigError: torchreid is missing, the name is unknown, or the weights cannot be fetched.
    """
    models = _models()
    factory = getattr(models, "__model_factory", {})
    if name not in factory:
        raise ConfigError(f"torchreid has no model {name!r}; it has {', '.join(sorted(factory))}")
    remedy = "give a local file with task.checkpoint=<file>, or start from random weights with task.pretrained=False"
    try:
        # 'triplet' is torchreid's word for "give both": natx computes its own losses.
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            net = models.build_model(
                name, num_classes=num_classes, loss="triplet", pretrained=pretrained, use_gpu=False
            )
    except (OSError, RuntimeError, ValueError) as error:
        if not pretrained:
            raise
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigError(f"torchreid cannot fetch the pretrained weights of {name} ({first}): {remedy}") from error
    # Where it has no weights, torchreid warns or says nothing, and goes on with random ones.
    reason = next((str(warning.message) for warning in caught if "pretrained weights" in str(warning.message)), None)
    if pretrained and (reason or "pretrained" not in inspect.signature(factory[name]).parameters):
        raise ConfigError(
            f"torchreid fetches no pretrained weights of {name}{f' ({reason})' if reason else ''}: {remedy}"
        )
    return net


def model_names() -> list[str]:
    """All names in torchreid's model zoo."""
    return sorted(getattr(_models(), "__model_factory", {}))
