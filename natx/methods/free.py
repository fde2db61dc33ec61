"""Adversarial training with a parameter update between the steps of the attack, on the same images several times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from natx.attacks import Attack, build_attack, counted
from natx.batch import START, Batch, select, size
from natx.data.replay import check_replay, held_images
from natx.errors import ConfigError
from natx.expect import expect
from natx.methods.base import Method
from natx.registry import METHODS
from natx.task import Task, concat_pixels


@dataclass
class _Round:
    """The images that are being replayed.

    Attributes:
        epoch: the epoch of the round.
        index: their positions in the data set, int64 ``[K]``.
        pixels: what the attack has made of them so far ``[K, C, H, W]``.
        done: steps of the round so far.
    """

    epoch: int
    index: Tensor
    pixels: Tensor
    done: int


@METHODS.register_module()
class FreeAdversarial(Method):
    """Each training step goes one attack further from where the step before left the images, and updates the weights.

    The first of ``replays`` steps on the same images starts as the attack itself does, the others from the perturbed
    images of the step before, within the threat model around the clean images all along. A share of ``fresh`` images,
    new at every step, is trained on clean beside them; both go through the network as one view, called 'adv', with one
    loss over the batch. The training loader orders the batches so (:class:`natx.data.replay.ReplaySampler`); an epoch
    ends with a round of replays, so a resumed run needs no perturbed images of an earlier one, and each process replays
    images of its own.

    With a classifier, one step of PGD and no fresh images this is free adversarial training (Shafahi et al. 2019, "free
    -m" with ``replays=m``). Deviations: the attack's gradient is taken by a pass of its own, in eval mode, at the
    weights that the last update left, where the original uses the gradient of the weight update itself and so costs one
    forward and backward a step instead of two; a round starts anew, where the original keeps the last batch's
    perturbation for the next one. With MTD's attack, ``WorstOf(select="batch")``, and half of the batch fresh it is the
    MTD of RobustDet's published code (Dong et al. 2022).

    Args:
        attack: config of what each step runs; it must be able to start from given images (PGD, WorstOf of PGDs).
        replays: steps in a row on the same images.
        fresh: share of a batch that is clean and new at every step, 0 <= fresh < 1.
        terms: see :class:`~natx.methods.base.Method`.

    Raises:
        ConfigError: a setting out of range, or an attack that cannot start from given images.
    """

    views = ("adv",)

    def __init__(
        self,
        attack: dict[str, Any] | Attack,
        replays: int,
        *,
        fresh: float = 0.0,
        terms: Sequence[dict[str, Any]] | None = None,
    ) -> None:
        check_replay(replays, fresh)
        super().__init__(terms)
        self.attack = build_attack(attack)
        if not self.attack.takes_start:
            raise ConfigError(
                f"FreeAdversarial goes on from the images of the step before, and {self.attack.name} cannot start from "
                "given images: use PGD with restarts=1, or WorstOf of such attacks"
            )
        self.replays, self.fresh = replays, float(fresh)
        self._round: _Round | None = None  # no buffer: never shared between processes

    @property
    def single_step(self) -> bool:
        """See :attr:`Method.single_step`."""
        return self.attack.single_step

    def prepare(self, task: Task, device: torch.device) -> None:
        """See :meth:`Method.prepare`; a training starts with a new round."""
        super().prepare(task, device)
        self._round = None

    def make_views(self, task: Task, batch: Batch, *, epoch: int) -> list[Tensor]:
        """Perturbed pixels of the replayed images, then the fresh images' own.

        Raises:
            ConfigError: other images than those of the step before, in the middle of a round.
        """
        held = held_images(size(batch), self.fresh)
        attacked, x = select(batch, torch.arange(held)), task.pixels(batch)
        last = self._ongoing(attacked["index"], epoch=epoch)
        if last is not None:
            attacked[START] = _on_canvas(last.pixels, x[:held])
        x_adv = self.attack(task, attacked, epoch=epoch)
        self.tally = self.attack.tally
        done = 1 if last is None else last.done + 1
        self._round = _Round(epoch, attacked["index"], x_adv, done)
        return [concat_pixels([x_adv, x[held:]]) if held < len(x) else x_adv]

    def get_extra_state(self) -> dict[str, Any]:
        """The round that the next step goes on with, for a run that goes on inside an epoch; empty between rounds."""
        return {} if self._round is None or self._round.done == self.replays else vars(self._round)

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`get_extra_state`."""
        self._round = _Round(**state) if state else None

    def cost(self) -> tuple[float, float]:
        """See :meth:`Method.cost`; adds the attack on the replayed share, so it is the mean over a batch's images."""
        forwards, backwards = super().cost()
        attack, share = counted(self.attack), 1 - self.fresh
        return (forwards + share * attack[0], backwards + share * attack[1])

    def _ongoing(self, index: Tensor, *, epoch: int) -> _Round | None:
        """The round that these images go on with, or None where a new one starts."""
        last = self._round
        if last is None or last.epoch != epoch or last.done == self.replays:
            return None
        last = _Round(epoch, last.index.to(index.device), last.pixels.to(index.device), last.done)  # read from a file?
        refusal = ConfigError(
            f"FreeAdversarial(replays={self.replays}, fresh={self.fresh:g}) got other images after {last.done} of "
            f"{self.replays} steps: its batches come from a ReplaySampler with the same settings"
        )
        if last.index.shape != index.shape:
            raise refusal
        expect((last.index == index).all(), lambda: refusal)
        return last


def _on_canvas(images: Tensor, x: Tensor) -> Tensor:
    """The perturbed images on the canvas of the clean pixels ``x``.

    Images of several sizes are padded to the largest of their batch, so fresh ones may change the canvas; what
    differs is padding, which attacks leave alone.
    """
    if images.shape == x.shape:
        return images
    height, width = (min(sides) for sides in zip(images.shape[-2:], x.shape[-2:]))
    placed = x.clone()
    placed[..., :height, :width] = images[..., :height, :width]
    return placed
