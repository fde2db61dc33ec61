"""Models in half precision, which are judged as float32 copies."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import Tensor, nn

from natx.errors import DataError
from natx.models.weights import HALF

Model = TypeVar("Model", bound=nn.Module)


def in_float32(model: Model) -> tuple[Model, list[str]]:
    """The model itself, or a float32 copy of one that has weights or buffers in half precision, and a remark on it.

    In half precision gradients underflow to zero and a few logits share a number: attacks stand still, and the model
    looks more robust than it is.

    Raises:
        DataError: a model that cannot be copied.
    """
    tensors = [*model.parameters(), *model.buffers()]
    kinds = list(dict.fromkeys(str(t.dtype).removeprefix("torch.") for t in tensors if t.dtype in HALF))
    if not kinds:
        return model, []
    remark = f"the model is in {' and '.join(kinds)}"
    try:
        return copy.deepcopy(model)._apply(_widened), [f"{remark}: judged as a float32 copy"]
    except RuntimeError as error:  # a weight that a hook makes anew (torch.nn.utils.weight_norm) has no copy
        raise DataError(f"{remark}, and torch cannot copy it to judge it in float32: give model.float()") from error


def _widened(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in HALF else tensor
