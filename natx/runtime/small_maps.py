"""Convolutions of small maps in bfloat16 on a CPU with AMX: a batch's images side by side in a few wide ones."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# An AMX tile has 16 rows, which oneDNN fills with the columns of one image's row; measured in results/benchmark_cpu.md.
WIDEST = 4  # columns of the output: with 8, forwards are slower than they were
NARROWEST = 64  # channels: below, copying costs what the tiles gain
SIDE_BY_SIDE = 16  # images at least, where the batch has as many
PLAIN = nn.Conv2d._conv_forward


class SideBySide:
    """While it is on, layers with small maps under bfloat16 autocast run on wide images; all others as they are.

    oneDNN fills the rows of an AMX tile, and the depth of those of the weights' gradient, with the columns of one row
    of one image, so that on maps of 4 x 4 three quarters and more of its work is on padding. Side by side with the
    convolution's own zeros between them, many images fill the tiles. Values and gradients are the same but for the
    order of additions; modules, weights and keys are untouched.

    It takes the place of ``nn.Conv2d``'s own call of the library, for all networks of a step. A mode of torch's would
    see functional calls too, and route every call of a step through Python: a tenth of a small network's.
    """

    def __enter__(self) -> SideBySide:
        self.before = nn.Conv2d._conv_forward
        if self.before is PLAIN:  # another library's replacement stays
            nn.Conv2d._conv_forward = _forward  # type: ignore[method-assign, assignment]
        return self

    def __exit__(self, *exception: object) -> None:
        nn.Conv2d._conv_forward = self.before  # type: ignore[method-assign]


def _forward(layer: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """:meth:`torch.nn.Conv2d._conv_forward` by :func:`conv2d`."""
    if layer.padding_mode != "zeros":
        return PLAIN(layer, x, weight, bias)
    return conv2d(x, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups)


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """:func:`torch.nn.functional.conv2d`, with the images side by side where that is quicker."""
    step = _quick_stride(x, weight, stride=stride, padding=padding, dilation=dilation, groups=groups)
    if step is None:
        return torch.conv2d(x, weight, bias, stride, padding, dilation, groups)
    count, _, height, width = x.shape
    border = weight.shape[-1] // 2
    span = math.ceil((width + border) / step) * step  # columns an image takes, the zeros after it among them
    strips = math.gcd(count, max(1, count // SIDE_BY_SIDE))
    strip = F.pad(x.to(torch.bfloat16).permute(0, 2, 3, 1), (0, 0, 0, span - width))
    strip = strip.view(strips, count // strips, height, span, -1).transpose(1, 2)
    strip = strip.reshape(strips, height, count // strips * span, -1).permute(0, 3, 1, 2)
    out = torch.conv2d(strip, weight, bias, step, border).permute(0, 2, 3, 1)
    high, wide = out.shape[1], (width - 1) // step + 1
    out = out.reshape(strips, high, count // strips, span // step, -1)[:, :, :, :wide].transpose(1, 2)
    return out.reshape(count, high, wide, -1).contiguous().permute(0, 3, 1, 2)


def _quick_stride(x: Tensor, weight: Tensor, *, stride: Any, padding: Any, dilation: Any, groups: int) -> int | None:
    """The stride of a convolution that is quicker side by side; None for all others.

    That is one of odd square kernels larger than 1 x 1 that keeps the map's size but for its stride.
    """
    if x.dim() != 4 or x.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
        return None
    kernel, step = weight.shape[-1], _both(stride)
    plain = weight.shape[-2] == kernel and kernel > 1 and kernel % 2 == 1 and groups == 1 and _both(dilation) == 1
    same = padding == "same" and step == 1 or _both(padding) == kernel // 2
    bfloat16 = torch.get_autocast_dtype("cpu") == torch.bfloat16 and x.dtype != torch.float64
    if not (plain and same and bfloat16 and step):
        return None
    small = x.shape[-1] <= WIDEST * step and len(x) > 1 and min(weight.shape[:2]) >= NARROWEST
    return step if small else None


def _both(value: Any) -> int | None:
    """A setting that is the same for rows and columns; None for another."""
    values = (value,) if isinstance(value, int) else tuple(value)
    return values[0] if isinstance(values[0], int) and len(set(values)) == 1 else None


def side_by_side(device: torch.device, *, wanted: bool | None = None) -> AbstractContextManager[Any]:
    """:class:`SideBySide` where it is wanted: by default on a CPU that has AMX; else a context that does nothing."""
    if wanted is None:
        wanted = device.type == "cpu" and torch.cpu._is_amx_tile_supported()
    return SideBySide() if wanted else nullcontext()


__all__ = ["SideBySide", "conv2d", "side_by_side"]
