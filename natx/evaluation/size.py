"""How large perturbations became: attacks that stop by themselves seldom use all that the threat allows."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from natx.runtime.device import widest

SIZES = ("linf", "l2", "psnr")


@torch.no_grad()
def realised(x: Tensor, x_adv: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
    """Size of each image's perturbation, padding not counted.

    Args:
        x: clean pixels in [0,1] ``[N, C, H, W]``.
        x_adv: attacked pixels.
        mask: pixels that are no padding, bool ``[N, 1, H, W]``; None for all.

    Returns:
        The ``SIZES`` by name, each ``[N]`` in float64 (float32 where a device has none): ``linf`` (largest change),
        ``l2`` (Euclidean length) and ``psnr`` (dB, of a peak of 1; infinite where nothing changed).
    """
    delta = x_adv - x
    count = delta.shape[1:].numel() if mask is None else mask.flatten(1).sum(1) * delta.shape[1]
    flat = (delta if mask is None else delta * mask).flatten(1)
    length = torch.linalg.vector_norm(flat, dim=1, dtype=widest(flat.device))
    mean = length.square() / count
    largest = torch.linalg.vector_norm(flat, math.inf, dim=1).to(length.dtype)
    return {"linf": largest, "l2": length, "psnr": torch.where(length > 0, -10 * mean.log10(), math.inf)}


def summary(sizes: dict[str, Tensor]) -> dict[str, float | int | None]:
    """What :func:`realised` found of a set of images, as plain values for a report.

    Returns:
        ``linf``: the largest change of a pixel in any image; ``l2`` and ``psnr``: means over the images that changed,
        None where none did; ``changed``: how many images did, of ``images``.
    """
    changed = sizes["linf"] > 0
    some = bool(changed.any())
    return {
        "linf": float(sizes["linf"].max()) if some else 0.0,
        "l2": float(sizes["l2"][changed].mean()) if some else None,
        "psnr": float(sizes["psnr"][changed].mean()) if some else None,
        "changed": int(changed.sum()),
        "images": len(changed),
    }
