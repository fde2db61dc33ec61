"""Models in half precision, which are judged as float32 copies."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import Tensor, nn

from natx.models.weights import HALF

Model = TypeVar("Model", bound=nn.Module)


def in_float32(model: Model) -> tuple[Model, list[str]]:
    """The model itself, or a float32 copy of one that has weights or buffers in half precision, and a remark on it.

    In half precision gradients underflow to zero and a few logits share a number: attacks stand still, and the model
    looks more robust than it is.
    """
    tensors = [*model.parameters(), *model.buffers()]
    kinds = list(dict.fromkeys(str(t.dtype).removeprefix("torch.") for t in tensors if t.dtype in HALF))
    if not kinds:
        return model, []
    return copy.deepcopy(model)._apply(_widened), [f"the model is in {' and '.join(kinds)}: judged as a float32 copy"]


def _widened(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in HALF else tensor
