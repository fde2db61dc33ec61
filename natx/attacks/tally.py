"""Tally: which images an attack met without a gradient to follow, or with logits that are no prediction."""

from __future__ import annotations

import torch
from torch import Tensor

from natx.attacks.remarks import FAINT, FAINT_AT_LEAST, UNDEFINED, UNDEFINED_AT_LEAST, UNREADABLE

TINY = 1e-12  # a gradient without an entry of this size is none: signs of what is left are those of rounding
KINDS = (FAINT, UNDEFINED, UNREADABLE)
AT_LEAST = (FAINT_AT_LEAST, UNDEFINED_AT_LEAST)


class Tally:
    """What attacks met on N images: flags on the images' device, which nothing waits for until they are told.

    An attack that stands still looks like robustness. So what it could not follow is counted, image by image: gradients
    that are zero (before the image is broken; after that there is nothing to follow) or have entries that are not
    finite, and logits that are not, which count as broken.

    Args:
        count: number of images N.
        device: where their pixels are.

    Attributes:
        faint: images with a gradient that had no entry of ``TINY`` or more, bool ``[N]``.
        undefined: images with a gradient that had NaN or infinite entries, bool ``[N]``.
        unreadable: images with NaN or infinite logits, bool ``[N]``.
        at_least: the most images at once that were faint and that were undefined, of those that a library chose, int64
            ``[2]``.
    """

    def __init__(self, count: int, device: torch.device) -> None:
        self.faint, self.undefined, self.unreadable = torch.zeros(3, count, dtype=torch.bool, device=device).unbind(0)
        self.at_least = torch.zeros(2, dtype=torch.int64, device=device)

    def gradients(self, grad: Tensor, *, rows: Tensor | None, among: Tensor | None = None) -> None:
        """Look at gradients ``[n, C, H, W]`` of the images at positions ``rows`` (all by default).

        Args:
            grad: as autograd gave them.
            rows: int64 ``[n]``, or None.
            among: images of which a gradient was to be expected, bool ``[n]``; all by default.
        """
        faint, undefined = _flags(grad)
        _mark(self.faint, faint if among is None else faint & among, rows)
        _mark(self.undefined, undefined, rows)

    def logits(self, finite: Tensor, *, rows: Tensor | None) -> None:
        """Look at outputs of the images at positions ``rows``, of which those are finite that bool ``[n]`` says."""
        _mark(self.unreadable, ~finite, rows)

    def some_gradients(self, grad: Tensor) -> None:
        """Look at gradients ``[n, C, H, W]`` of images nobody says which: as many as there are at once are counted."""
        self.some(torch.stack([flags.sum() for flags in _flags(grad)]))

    def some(self, counts: Tensor) -> None:
        """Take over counts as :attr:`at_least` has them, int64 ``[2]``."""
        self.at_least = torch.maximum(self.at_least, counts)

    def without_gradient(self) -> Tensor:
        """Images that at some step had no gradient or one that is not finite, bool ``[N]``."""
        return self.faint | self.undefined

    def shares(self) -> dict[str, Tensor]:
        """Percent of the images without gradient and with one that is not finite: 0-dim, for a training's log."""
        kinds = {"attack_zero_grad": self.faint, "attack_nonfinite_grad": self.undefined}
        return {name: 100 * flags.float().mean() for name, flags in kinds.items()}

    def notes(self, rows: Tensor | None = None) -> list[str]:
        """What a report should say of all images, or of those at positions ``rows``; nothing of what was not met."""
        flags = (self.faint, self.undefined, self.unreadable)
        counts = torch.stack([(one if rows is None else one[rows]).sum() for one in flags]).tolist()
        at_least = self.at_least.tolist() if rows is None else [0, 0]
        return [
            *(f"{kind}{count}" for kind, count in zip(KINDS, counts) if count),
            *(f"{kind}{count}" for kind, count in zip(AT_LEAST, at_least) if count),
        ]


def finite_gradient(grad: Tensor) -> Tensor:
    """The gradient with 0 in place of entries that are NaN or infinite, so that no norm, sum or sign is spoilt."""
    return grad.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)


def _flags(grad: Tensor) -> tuple[Tensor, Tensor]:
    """Which images have no gradient to speak of, and which one that is not finite; bool ``[n]`` each."""
    largest = grad.abs().amax(tuple(range(1, grad.dim())))  # NaN where an entry is
    return largest < TINY, ~torch.isfinite(largest)


def _mark(flags: Tensor, which: Tensor, rows: Tensor | None) -> None:
    """Set flags of the images at positions ``rows``; those that are set stay so."""
    if rows is None:
        flags |= which
    else:
        flags[rows] = flags[rows] | which
