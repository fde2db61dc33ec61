"""The logits in what a network returns: a tensor, or a part of a tuple, a dict or an object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from natx.errors import DataError

USUAL = "logits"  # what Hugging Face's classifiers call theirs


def pick_logits(output: Any, name: str | int | None = None) -> Tensor:
    """The logits of an output.

    Args:
        output: what a network returned.
        name: a key of a dict, an attribute of an object, or a place in a tuple; by default a tensor is the logits
            itself, and of anything else its ``logits``.

    Raises:
        DataError: there is no such part, or it is no tensor.
    """
    if isinstance(output, Tensor) and name is None:
        return output
    part = _part(output, USUAL if name is None else name)
    if isinstance(part, Tensor):
        return part
    asked = "" if name is None else f", and {name!r} is no tensor in it"
    raise DataError(f"the model returns {_described(output)}{asked}: say which part is logits, logits=<key or place>")


def _part(output: Any, name: str | int) -> Any:
    if isinstance(output, Tensor):
        return None
    if isinstance(name, int) or (isinstance(output, (list, tuple)) and name.lstrip("-").isdigit()):
        place = int(name)
        inside = isinstance(output, (list, tuple)) and -len(output) <= place < len(output)
        return output[place] if inside else None
    return output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)


def _described(output: Any) -> str:
    if isinstance(output, Tensor):
        return f"a tensor {list(output.shape)}"
    if isinstance(output, Mapping):
        return f"a {type(output).__name__} of {', '.join(map(str, output))}"
    if isinstance(output, Sequence) and not isinstance(output, str):
        return f"a {type(output).__name__} of {len(output)}"
    return type(output).__name__
