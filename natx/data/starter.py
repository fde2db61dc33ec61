"""What a first config is to say of a folder of images, each with the reason: `natx init` writes it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from natx.data.images import stored_size
from natx.threat import pixel_fraction

LOOKED_AT = 64  # image files whose size is read
BATCHES, STEPS_AN_EPOCH = (128, 64, 32, 16, 8), 20
STEPS, FEWEST, MOST = 3000, 10, 100  # of a training; epochs
QUICK_IMAGES, QUICK_MOST = 40_000, 60  # images seen in a training of minutes; epochs
SMALL = 100  # pixels a side, below which 8/255 is usual


@dataclass(frozen=True)
class Wish:
    """What the user has decided already.

    Attributes:
        file: the config to write.
        model: the network; None for the starter's own choice.
        image_size: side of the images in pixels; None for that of the files.
        method: 'nat', 'at_union' (the same images without the nasty term), 'at' (adversarial images alone, where the
            starter knows such a form; else as 'at_union') or 'standard'.
        eps: radius; None for the usual one.
        epochs: None for as many as make a usual number of steps.
        quick: minutes on a CPU in place of a training as it is usual.
    """

    file: Path
    model: str | None = None
    image_size: int | None = None
    method: str = "nat"
    eps: float | None = None
    epochs: int | None = None
    quick: bool = False


def side(paths: Sequence[str]) -> int:
    """The median of the shorter sides of some of the image files, in pixels."""
    chosen = paths[:: max(1, len(paths) // LOOKED_AT)]
    return round(statistics.median(min(stored_size(path)) for path in chosen))


def batch_size(images: int) -> int:
    """The largest usual batch that makes 20 steps an epoch; the smallest, or all images, where there are few."""
    return next((batch for batch in BATCHES if images // batch >= STEPS_AN_EPOCH), min(BATCHES[-1], images))


def epochs(images: int, batch: int) -> int:
    """So many as make about 3,000 steps, in tens."""
    return min(MOST, max(FEWEST, round(STEPS / max(1, images // batch) / 10) * 10))


def quick_epochs(images: int) -> int:
    """So many as show about 40,000 images."""
    return min(QUICK_MOST, max(1, round(QUICK_IMAGES / max(1, images))))


def radius(pixels: int) -> tuple[str, str]:
    """The usual Linf radius for images of so many pixels a side as text, and why."""
    if pixels < SMALL:
        return "8 / 255", f"usual below {SMALL} pixels a side, as on CIFAR: each pixel by up to 8 of 255 grey levels"
    return "4 / 255", f"usual from {SMALL} pixels a side on, as on ImageNet: each pixel by up to 4 of 255 grey levels"


def asked_radius(eps: float) -> str:
    """A radius as a config writes it: ``8 / 255`` where it is such a fraction."""
    text = pixel_fraction(eps)
    return text.replace("/", " / ") if "/" in text else repr(eps)


def line(key: str, value: str, reason: str = "") -> str:
    """An assignment of a config with its reason as a comment."""
    return f"{key} = {value}" + (f"  # {reason}" if reason else "")


def bases(*names: str) -> str:
    """The line that names shipped bases."""
    return line("_base_", "[" + ", ".join(f'"_base_/{name}.py"' for name in names) + "]")


def threat(wish: Wish, usual: str, why: str) -> str:
    """The line of the threat model."""
    eps, reason = (usual, why) if wish.eps is None else (asked_radius(wish.eps), "as asked for")
    return line("threat", f'dict(type="Linf", eps={eps})', reason)


def methods(wish: Wish, arguments: str, *, nasty: str = "") -> list[str]:
    """The lines of the method; the adversary of NAT is the same config without defence.

    Args:
        wish: says which.
        arguments: of the method, where it is adversarial training.
        nasty: further arguments of the nasty term.
    """
    if wish.method == "standard":
        return [line("method", 'dict(type="Standard")')]
    if wish.method in ("at", "at_union"):  # which images they see is the starter's to say
        return [line("method", f"dict({arguments})")]
    without = 'dict(method=dict(_delete_=True, type="Standard"))'
    reason = "this config without defence, trained first, once"
    terms = f'[dict(type="TaskLoss"), dict(type="NastyKL", {nasty}adversary=_adversary)]'
    return [
        line("_adversary", f"dict(config={wish.file.name!r}, options={without})", reason),
        line("method", f"dict({arguments}, terms={terms})"),
    ]


def schedule(wish: Wish, images: int, batch: int, *, warm_up: int = 0) -> str:
    """The line of the epochs, down a cosine after a warm-up, which short trainings do without."""
    count = wish.epochs or (quick_epochs(images) if wish.quick else epochs(images, batch))
    warm_up = warm_up if count > 2 * warm_up else 0
    parts = [f'dict(type="LinearLR", start_factor=0.1, begin=0, end={warm_up}, by_epoch=True)'] if warm_up else []
    parts += [f'dict(type="CosineAnnealingLR", T_max={count - warm_up}, begin={warm_up}, end={count}, by_epoch=True)']
    usual = f"about {STEPS:,} steps at {max(1, images // batch)} an epoch, but {FEWEST} to {MOST} epochs"
    usual = f"quick: about {QUICK_IMAGES:,} images, at most {QUICK_MOST} epochs" if wish.quick else usual
    reason = f"{'as asked for' if wish.epochs else usual}; the rate falls along a cosine"
    reason += f" after {warm_up} epochs of warm-up" if warm_up else ""
    return line("train_cfg, param_scheduler", f"dict(max_epochs={count}), [{', '.join(parts)}]", reason)
