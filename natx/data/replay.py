"""Replayed batches: the same images several steps in a row, each time beside new ones."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, Protocol

from torch.utils.data import Sampler

from natx.errors import ConfigError


def check_replay(replays: Any, fresh: Any) -> None:
    """Raise ConfigError where a number of replays or a share of fresh images is none."""
    if isinstance(replays, bool) or not isinstance(replays, int) or replays < 1:
        raise ConfigError(f"replays is how many steps in a row show the same images, at least 1; got {replays!r}")
    if isinstance(fresh, bool) or not isinstance(fresh, (int, float)) or not 0 <= fresh < 1:
        raise ConfigError(f"fresh is the share of a batch that is new at every step, 0 <= fresh < 1; got {fresh!r}")


def held_images(batch_size: int, fresh: float) -> int:
    """How many images of a batch are replayed; they come first, the fresh ones after them.

    Raises ConfigError where ``fresh * batch_size`` is no whole number of images, or leaves none to replay.
    """
    count = round(fresh * batch_size)
    if abs(fresh * batch_size - count) > 1e-6 or count >= batch_size:
        raise ConfigError(
            f"fresh={fresh:g} of a batch of {batch_size} images is {fresh * batch_size:g} images: choose "
            "fresh and batch_size so that it is a whole number and leaves images to replay"
        )
    return batch_size - count


class Order(Protocol):
    """A sampler that draws its order from an epoch, and knows how many positions it gives each process."""

    def __iter__(self) -> Iterator[int]:
        """Positions of this process."""

    def __len__(self) -> int:
        """How many."""

    def set_epoch(self, epoch: int) -> None:
        """Use this epoch's order from now on."""


class ReplaySampler(Sampler[int]):
    """The positions of another sampler in an order of replayed batches.

    A round takes the next ``held_images(batch_size, fresh)`` positions and shows them in ``replays`` batches in a row;
    each batch is filled up with positions that have not come yet. So an epoch goes once through the other sampler's
    order (a last part that is too short for a round is left out), ends with a round, and is drawn again from (seed,
    epoch) when a run is resumed. Processes keep the parts that the other sampler gives them.

    Args:
        order: the sampler whose positions are used.
        batch_size: images in a batch, replayed and fresh ones together.
        replays: batches in a row that show the same images.
        fresh: share of a batch that is new each time.

    Raises:
        ConfigError: settings out of range, or fewer positions than one round takes.
    """

    def __init__(self, order: Order, batch_size: int, *, replays: int, fresh: float = 0.0) -> None:
        super().__init__()
        check_replay(replays, fresh)
        self.order, self.batch_size, self.replays = order, batch_size, replays
        self.held = held_images(batch_size, fresh)
        self.fresh = batch_size - self.held
        self.rounds = len(order) // (self.held + replays * self.fresh)
        if self.rounds == 0:
            raise ConfigError(
                f"replays={replays} of {self.held} images beside {self.fresh} fresh ones take "
                f"{self.held + replays * self.fresh} training images on each process, which has {len(order)}: lower "
                "batch_size, replays or fresh"
            )

    def set_epoch(self, epoch: int) -> None:
        """Use this epoch's order from now on."""
        self.order.set_epoch(epoch)

    def __len__(self) -> int:
        return self.rounds * self.replays * self.batch_size

    def __iter__(self) -> Iterator[int]:
        """Positions for this process, one batch after the other."""
        positions = iter(self.order)
        for _ in range(self.rounds):
            held = list(islice(positions, self.held))
            for _ in range(self.replays):
                yield from held
                yield from islice(positions, self.fresh)

    def notes(self) -> list[str]:
        """What an epoch shows, and the other sampler's remarks."""
        beside = f" beside {self.rounds * self.replays * self.fresh} others, shown once" if self.fresh else ""
        text = (
            f"an epoch shows {self.rounds * self.held} of each process's {len(self.order)} training images in "
            f"{self.replays} steps each{beside}: {self.rounds * self.replays} steps"
        )
        return [text, *getattr(self.order, "notes", list)()]
