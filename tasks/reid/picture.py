"""A picture of searches: query images, and what a model finds for them in the gallery."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from natx.runtime.files import write_atomic

LEGEND = "The query, then its nearest gallery images. Green \N{CHECK MARK}: the same person, red: another one."
RIGHT, WRONG, ASKED = "#1a8a1a", "#d01c1c", "#444444"  # green, red, grey
# All in inches; an image is 1 wide.
MARGIN, GAP, AFTER_QUERY, BETWEEN, TITLE, CAPTION, BETWEEN_PAIRS, HEAD = 0.2, 0.12, 0.2, 0.45, 0.3, 0.24, 0.25, 0.4
LEAST_WIDTH = 7.2  # the legend fits
DOTS = 128  # per inch: re-identification images are usually 128 pixels wide


@dataclass(frozen=True)
class Portrait:
    """An image of a person.

    Attributes:
        image: pixels ``[3, H, W]`` in [0,1].
        identity: number of the person.
        camera: number of the camera; None where it is not known.
    """

    image: Tensor
    identity: int
    camera: int | None


@dataclass(frozen=True)
class Search:
    """A row of the picture.

    Attributes:
        title: stands above the row.
        query: the image searched for, as the model saw it.
        nearest: the nearest gallery images, nearest first.
    """

    title: str
    query: Portrait
    nearest: Sequence[Portrait]


def draw_searches(path: Path, groups: Sequence[Sequence[Search]]) -> None:
    """Write a PNG of searches; those of a group (one query, before and after an attack) stand above each other.

    Gallery images of the query's identity are framed green and marked, others red. Two groups stand side by side.

    Args:
        path: where to write; replaced whole or not at all.
        groups: searches, equally many in each group; at least one.
    """
    lists = [search for group in groups for search in group]
    images = 1 + max(len(search.nearest) for search in lists)
    height, width = lists[0].query.image.shape[-2:]
    tall = height / width
    row, group = TITLE + tall + CAPTION, len(groups[0]) * (TITLE + tall + CAPTION) + BETWEEN_PAIRS
    block = images * (1 + GAP) - GAP + AFTER_QUERY
    across = min(2, len(groups))
    down = -(-len(groups) // across)
    size = (max(LEAST_WIDTH, 2 * MARGIN + across * block + (across - 1) * BETWEEN), HEAD + down * group)
    figure = Figure(figsize=size)
    FigureCanvasAgg(figure)  # no window system, whatever matplotlib's settings say
    figure.text(MARGIN / size[0], 1 - HEAD / 2 / size[1], LEGEND, fontsize=10, va="center")
    for i, searches in enumerate(groups):
        left = MARGIN + i % across * (block + BETWEEN)
        top = size[1] - HEAD - i // across * group
        for search in searches:
            _draw_search(figure, search, left=left, top=top, tall=tall)
            top -= row
    write_atomic(path, lambda file: figure.savefig(file, format="png", dpi=DOTS, metadata={"Software": None}))


def _draw_search(figure: Figure, search: Search, *, left: float, top: float, tall: float) -> None:
    """One row, its upper left corner given in inches from the figure's lower left one."""
    width, height = figure.get_size_inches()
    figure.text(left / width, (top - TITLE / 2) / height, search.title, fontsize=10, weight="bold", va="center")
    for i, portrait in enumerate((search.query, *search.nearest)):
        x = left + i * (1 + GAP) + (AFTER_QUERY if i else 0)
        axes = figure.add_axes((x / width, (top - TITLE - tall) / height, 1 / width, tall / height))
        right = portrait.identity == search.query.identity
        _draw_image(axes, portrait, colour=ASKED if i == 0 else RIGHT if right else WRONG)


def _draw_image(axes: Axes, portrait: Portrait, *, colour: str) -> None:
    pixels = portrait.image.detach().float().clamp(0, 1).cpu().permute(1, 2, 0).numpy()
    axes.imshow(pixels, aspect="auto")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(color=colour, linewidth=3.5)
    # The mark is for those who cannot tell the two colours apart.
    mark = "\N{CHECK MARK} " if colour == RIGHT else ""
    camera = "" if portrait.camera is None else f", cam {portrait.camera}"
    axes.set_xlabel(f"{mark}id {portrait.identity}{camera}", fontsize=8.5, color=colour, labelpad=4)
