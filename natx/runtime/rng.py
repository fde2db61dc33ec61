"""Counter-based random numbers: every draw is a function of (seed, epoch, image index, stream, position).

A random start drawn this way is the same whatever the batch size, the order of the images or the number of processes,
and it neither reads nor advances torch's global generator.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

REPEAT_BIT = 27  # of a key of 32: above it an image's repeats in a batch are counted
_M1, _M2 = 0x7FEB352D, -0x7B935975  # 0x846ca68b as a signed 32-bit integer


def _mix(h: Tensor) -> Tensor:
    """A bijective 32-bit integer hash (constants: "lowbias32", Wellons 2018), in place on an int32 tensor."""
    h ^= (h >> 16) & 0xFFFF
    h *= _M1
    h ^= (h >> 15) & 0x1FFFF
    h *= _M2
    h ^= (h >> 16) & 0xFFFF
    return h


def _signed(value: int) -> int:
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >= 1 << 31 else value


def _keys(index: Tensor, words: Sequence[int], salts: Sequence[int]) -> Tensor:
    """One 32-bit key per salt and image from its index and a list of integers: int32 [S, N]."""
    key = (index & 0xFFFFFFFF).to(torch.int64)
    key = torch.where(key >= 1 << 31, key - (1 << 32), key).to(torch.int32)
    key = _mix(torch.stack([key ^ _signed(salt) for salt in salts]))
    for word in words:
        key = _mix(key ^ _signed(word * 0x9E3779B1 + 0x7F4A7C15))
    return key


def keys_in_batch(index: Tensor) -> Tensor:
    """Keys for draws in a batch that shows an image more than once: its repeats get numbers of their own.

    The first of an image keeps its position as key, so batches without repeats draw as ever. Keys of different images
    never meet in sets of up to 2^27 images, nor do up to 32 repeats. The device is not waited for.

    Args:
        index: position of each image of the batch in its data set, int64 ``[N]``.

    Returns:
        int64 ``[N]``.
    """
    ordered, order = index.sort(stable=True)
    place = torch.arange(len(index), device=index.device)
    repeat = place - torch.searchsorted(ordered, ordered)  # of sorted images: 0 for the first of each
    return index + (torch.zeros_like(index).scatter(0, order, repeat) << REPEAT_BIT)


def uniform(index: Tensor, shape: Sequence[int], *, seed: int, epoch: int = 0, stream: int = 0) -> Tensor:
    """Uniform numbers in [0, 1) with 24 random bits, keyed by image.

    Args:
        index: position of each image in its data set, int64 ``[N]``; the draw lives on its device.
        shape: shape of one image's draw.
        seed: the run's seed.
        epoch: the epoch (0 in evaluation).
        stream: tells independent draws of the same image apart (random start, restarts, flips, ...).

    Returns:
        float32 ``[N, *shape]``.
    """
    n, size = index.shape[0], math.prod(shape)
    words = (seed & 0xFFFFFFFF, seed >> 32, epoch, stream)
    first, second = _keys(index, words, (0x243F6A88, 0x13198A2E))
    position = torch.arange(size, device=index.device, dtype=torch.int32)
    bits = _mix(position[None, :] + first[:, None])  # [N, size]
    bits ^= second[:, None]
    bits = _mix(bits)
    bits >>= 8
    bits &= 0xFFFFFF
    return bits.to(torch.float32).mul_(2.0**-24).view(n, *shape)


def normal(index: Tensor, shape: Sequence[int], *, seed: int, epoch: int = 0, stream: int = 0) -> Tensor:
    """Standard normal numbers, keyed by image: Box and Muller's transform of two uniform draws each.

    The largest magnitude is 5.8 (a uniform number has 24 bits); arguments as for :func:`uniform`.

    Returns:
        float32 ``[N, *shape]``.
    """
    first, second = uniform(index, (2, *shape), seed=seed, epoch=epoch, stream=stream).unbind(1)
    radius = (-2 * torch.log1p(-first)).sqrt()  # 1 - first is in (0, 1]
    return radius * torch.cos(2 * math.pi * second)
