"""mmengine's InstanceData on every accelerator."""

from __future__ import annotations

from typing import Union

from mmengine.structures import instance_data
from torch import Tensor


def index_on_any_device() -> None:
    """Let ``InstanceData`` be indexed by tensors of any device; repeating it does nothing.

    mmengine 0.10.7 names the tensor classes of the CPU, of CUDA and of three other devices. On any other (mps, xpu) an
    index fails its assertion, and with it every detector's prediction.
    """
    if Tensor not in instance_data.IndexType.__args__:
        instance_data.IndexType = Union[instance_data.IndexType, Tensor]  # noqa: UP007  the assertion reads __args__
