"""Numerical precision: losses, KL and probabilities never run below fp32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


def full_precision(tensor: Tensor) -> Tensor:
    """The tensor in float32, or unchanged if it already is float32 or float64."""
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()


def kl_divergence(p_log: Tensor, q_log: Tensor) -> Tensor:
    """``KL(p || q)`` of two categorical distributions given as log-probabilities ``[M, C]``: shape ``[M]``.

    Written from log-probabilities, so that a probability that underflows to zero contributes zero value and zero
    gradient instead of NaN (``torch.nn.functional.kl_div`` with a softmax target does not guarantee this).
    """
    return (p_log.exp() * (p_log - q_log)).sum(1)


@contextmanager
def exact_float32() -> Iterator[None]:
    """float32 means it, on any device: matrix products and convolutions are not rounded to TF32 or bfloat16 on the way.

    torch lets cuDNN's convolutions do so by default. cuDNN does not try several algorithms either, whose rounding
    differs. All switches, those of the old interface and those of the new one, are put back on exit. Also a decorator.
    """
    leaves = [leaf for leaf in _switches() if hasattr(leaf, "fp32_precision")]
    before = [leaf.fp32_precision for leaf in leaves]
    tries = torch.backends.cudnn.benchmark
    try:  # the old interface, which refuses to speak where the new one was used
        old = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    except RuntimeError:
        old = None
    try:
        torch.backends.cudnn.benchmark = False
        if old is not None:
            torch.set_float32_matmul_precision("highest")
            torch.backends.cudnn.allow_tf32 = False
        for leaf in leaves:
            leaf.fp32_precision = "ieee"
        yield
    finally:
        torch.backends.cudnn.benchmark = tries
        if old is not None:
            torch.set_float32_matmul_precision(old[0])
            torch.backends.cudnn.allow_tf32 = old[1]
        for leaf, value in zip(leaves, before):
            leaf.fp32_precision = value


@contextmanager
def quick_float32(device: torch.device) -> Iterator[None]:
    """On a CUDA device, float32 in TF32 and the fastest of cuDNN's algorithms for each shape: for training alone.

    On other devices nothing changes. Judging inside, such as choosing a checkpoint, is exact (:func:`exact_float32`).
    All switches are put back on exit. Sources of the switches: PyTorch's notes on CUDA and its tuning guide.
    """
    if device.type != "cuda":
        yield
        return
    tries = torch.backends.cudnn.benchmark
    try:  # the interface that torch.compile reads; it refuses where the new one was used, whose choice stays
        old = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    except RuntimeError:
        old = None
    try:
        torch.backends.cudnn.benchmark = True
        if old is not None:
            torch.set_float32_matmul_precision("high")
            torch.backends.cudnn.allow_tf32 = True
        yield
    finally:
        torch.backends.cudnn.benchmark = tries
        if old is not None:
            torch.set_float32_matmul_precision(old[0])
            torch.backends.cudnn.allow_tf32 = old[1]


def _switches() -> list[Any]:
    """Where torch keeps what float32 may be computed in, one for each library and kind of operation."""
    cuda, cudnn, mkldnn = torch.backends.cuda, torch.backends.cudnn, torch.backends.mkldnn
    kinds = ("matmul", "conv", "rnn")
    return [cuda.matmul, *(getattr(at, kind) for at in (cudnn, mkldnn) for kind in kinds if hasattr(at, kind))]
