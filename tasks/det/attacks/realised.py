"""How large perturbations became: attacks that stop by themselves seldom use all that the threat allows."""

from __future__ import annotations

import torch
from torch import Tensor

from natx.attacks import Attacked, Victim
from natx.threat import pixel_fraction


def realised(x: Tensor, x_adv: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
    """Size of each image's perturbation, padding not counted.

    Args:
        x: clean pixels in [0,1] ``[N, C, H, W]``.
        x_adv: attacked pixels.
        mask: pixels that are no padding, bool ``[N, 1, H, W]``; None for all.

    Returns:
        ``linf`` (largest change), ``l2`` (Euclidean length) and ``psnr`` (dB, of a peak of 1; infinite where nothing
        changed), each ``[N]``.
    """
    delta = (x_adv - x).double()
    inside = torch.ones_like(delta) if mask is None else mask.to(delta.dtype).expand_as(delta)
    flat = (delta * inside).flatten(1)
    square = flat.square().sum(1)
    mean = square / inside.flatten(1).sum(1)
    return {"linf": flat.abs().amax(1), "l2": square.sqrt(), "psnr": -10 * mean.log10()}


def judged(victim: Victim, x_adv: Tensor) -> Attacked:
    """The outcome of an attack on detections, with a remark on how large its perturbations became.

    A remark is about one batch and says which one, since a report keeps equal remarks once.
    """
    size = realised(victim.x, x_adv, victim.ball.mask)
    changed = size["linf"] > 0
    index = victim.batch["index"]
    images = f"images {int(index.min())} to {int(index.max())}" if len(index) > 1 else f"image {int(index[0])}"
    count, total = int(changed.sum()), len(changed)
    if not count:
        return Attacked(x_adv, notes=[f"{images}: nothing changed"])
    mean, largest = float(size["psnr"][changed].mean()), pixel_fraction(float(size["linf"].max()))
    note = f"{images}: mean PSNR {mean:.1f} dB, largest change {largest}"
    if count < total:
        note += f"; {total - count} of {total} unchanged"
    return Attacked(x_adv, notes=[note])
