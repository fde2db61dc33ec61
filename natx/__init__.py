"""natx: nasty adversarial training for any vision task, and an honest judge of the result.

The core of the package imports torch, numpy and mmengine; task libraries (timm, torchvision, ...) are imported only by
the adapters under ``tasks``. ``natx.load``, ``natx.evaluate``, ``natx.attack`` and ``natx.train`` are what a notebook
needs; they are imported when first asked for, so that ``import natx`` itself imports nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from natx.version import __version__

if TYPE_CHECKING:
    from natx.judging.notebook import attack, evaluate
    from natx.models.load import load
    from natx.training.start import train

__all__ = ["__version__", "attack", "evaluate", "load", "train"]

_LAZY = {
    "attack": "natx.judging.notebook",
    "evaluate": "natx.judging.notebook",
    "load": "natx.models.load",
    "train": "natx.training.start",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'natx' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
