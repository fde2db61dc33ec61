"""Blocks of images in pieces that fit into memory, where the outcome of an image does not depend on its batch."""

from __future__ import annotations

from collections.abc import Callable

import torch

from natx.attacks import Cost
from natx.attacks.remarks import merged
from natx.errors import MemoryShortage
from natx.evaluation.progress import Block
from natx.runtime.memory import is_shortage, release


class Pieces:
    """Judges blocks of images; where memory does not suffice, half as many images at a time from then on.

    Args:
        judge: judges images at once.
        divisible: whether a block may be taken apart; AutoAttack's may not.
    """

    def __init__(self, judge: Callable[[list[int]], Block], *, divisible: bool = True) -> None:
        self.judge, self.divisible = judge, divisible
        self.limit: int | None = None  # images at a time; None while whole blocks fit

    def __call__(self, images: list[int]) -> Block:
        """The block of some images.

        Raises:
            MemoryShortage: a block that may not be taken apart, or a single image, does not fit.
        """
        parts: list[Block] = []
        position = 0
        while position < len(images):
            piece = images[position : position + (self.limit or len(images))]
            shortage = None
            try:
                parts.append(self.judge(piece))
                position += len(piece)
            except (RuntimeError, MemoryError) as error:
                if not is_shortage(error):
                    raise
                shortage = " ".join(str(error).split())[:150]
            if shortage is not None:  # here the failed call's tensors are gone
                self._halve(len(piece), shortage)
        return parts[0] if len(parts) == 1 else self._joined(images, parts)

    def _halve(self, count: int, shortage: str) -> None:
        if count == 1 or not self.divisible:
            raise MemoryShortage(
                f"out of memory ({shortage}) with {count} images at a time"
                + ("" if self.divisible else ", which AutoAttack needs together: lower its block_size")
                + ("" if count > 1 else ": a single image does not fit; use a smaller model or another device")
            )
        self.limit = count // 2
        release()

    def _joined(self, images: list[int], parts: list[Block]) -> Block:
        note = f"memory sufficed for {self.limit} images at a time"
        cost = Cost(sum(part.cost.forwards for part in parts), sum(part.cost.backwards for part in parts))
        notes = [*merged(part.notes for part in parts), note]
        return Block(images, torch.cat([part.right for part in parts], 1), cost, notes)
