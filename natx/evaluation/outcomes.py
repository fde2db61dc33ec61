"""Outcomes per image as text: which images a column gets right, so that two reports can be compared image by image."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
from torch import Tensor


def packed(right: Tensor) -> str:
    """Outcomes bool ``[N]`` as hexadecimal digits, four images each, the first image at the highest bit.

    The last byte is filled up with zeros: two digits for every eight images that were begun.
    """
    return np.packbits(right.cpu().numpy().astype(bool)).tobytes().hex()


def unpacked(text: str, images: int) -> Tensor:
    """The inverse of :func:`packed`.

    Args:
        text: hexadecimal digits.
        images: number of images N.

    Raises:
        ValueError: text of another length, or none that :func:`packed` makes.
    """
    values = np.frombuffer(bytes.fromhex(text), dtype=np.uint8)
    if len(values) != -(-images // 8):
        raise ValueError(f"outcomes of {images} images have {2 * -(-images // 8)} digits; got {len(text)}")
    return torch.from_numpy(np.unpackbits(values, count=images).astype(bool))


def image_fingerprint(whole: Any, part: Any) -> str:
    """Which images were judged, in which order: two reports with the same can be compared image by image.

    Args:
        whole: the test set.
        part: what :func:`natx.data.subset` took of it, or the set itself.
    """
    positions = [*getattr(part, "positions", range(len(part)))]
    text = f"{whole.fingerprint()} {positions} {getattr(part, 'attacked', None)}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def discordant(first: Tensor, second: Tensor) -> tuple[int, int]:
    """On how many images only the first of two outcomes bool ``[N]`` is right, and on how many only the second.

    What :func:`natx.evaluation.statistics.mcnemar` takes.
    """
    return int((first & ~second).sum()), int((second & ~first).sum())
