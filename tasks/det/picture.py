"""A picture of detections: images before and after an attack, and what the attack changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from torch import Tensor

from natx.runtime.files import write_atomic
from tasks.det.matching import IOU, LEAST_SCORE, Matching

MOST = 12  # detections that are drawn
LEGEND = (
    f"Detections of score {LEAST_SCORE} and more. Green \N{CHECK MARK}: an object of that class (IoU {IOU}), "
    "red: a false alarm, dashed: an object that is missed."
)
RIGHT, WRONG, MISSED = "#1a8a1a", "#d01c1c", "#ffd400"  # green, red, yellow
# All in inches; the longer side of an image is SIDE.
SIDE, MARGIN, GAP, TITLE, BETWEEN, HEAD = 3.4, 0.2, 0.15, 0.32, 0.15, 0.4
DOTS = 110  # per inch
LETTERS = 15.0  # of size 8 that go into an inch
LIGHT, DARK = (withStroke(linewidth=3.4, foreground=tint) for tint in ("#ffffffb0", "#000000b0"))  # on any ground
HALF = 0.5  # grey, which means no change


@dataclass(frozen=True)
class Marks:
    """What is drawn on an image, boxes ``[K, 4]`` as x1, y1, x2, y2 in pixels of the resized image.

    Attributes:
        boxes: detections, best first; none of difficult objects.
        scores: their scores ``[K]``.
        labels: their classes ``[K]``.
        right: which find an object, see :class:`tasks.det.matching.Matching`, bool ``[K]``.
        missed: boxes ``[M, 4]`` of the objects that no detection finds.
        missed_labels: their classes ``[M]``.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    right: Tensor
    missed: Tensor
    missed_labels: Tensor

    @classmethod
    def of(cls, prediction: dict[str, Tensor], annotation: Any) -> Marks:
        """From predictions in pixels of the original image, and the image's annotation; the best ones are kept."""
        matching = Matching.of(prediction, annotation)
        best = (~matching.ignored).nonzero().squeeze(1)[:MOST]
        order, right = matching.order[best], matching.objects[best] >= 0
        missed = ~annotation.difficult & ~matching.detected
        scale = torch.tensor(annotation.scale * 2)
        boxes, scores, labels = (prediction[key][order] for key in ("boxes", "scores", "labels"))
        overlooked = annotation.boxes[missed].float() * scale
        return cls(boxes.float() * scale, scores, labels, right, overlooked, annotation.labels[missed])


@dataclass(frozen=True)
class Scene:
    """An image of the picture.

    Attributes:
        title: which column of the table it belongs to.
        image: pixels ``[3, H, W]`` in [0,1], without padding.
        marks: what the model finds in it, and what it misses.
    """

    title: str
    image: Tensor
    marks: Marks


def draw_scenes(path: Path, rows: Sequence[Sequence[Scene]], *, classes: Sequence[str]) -> None:
    """Write a PNG with a row for each image: clean, the perturbation magnified, attacked; or clean alone.

    The perturbation is shown around grey, as large as the picture allows without clipping.

    Args:
        path: where to write; replaced whole or not at all.
        rows: one or two scenes each, of the same size within a row.
        classes: names of the classes in label order.
    """
    across = 3 if len(rows[0]) == 2 else 1
    tall = [_size(scenes[0].image)[1] for scenes in rows]
    width = max(3 * SIDE + 2 * GAP, across * SIDE) + 2 * MARGIN
    height = HEAD + sum(tall) + len(rows) * (TITLE + BETWEEN)
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)  # no window system, whatever matplotlib's settings say
    figure.text(MARGIN / width, 1 - HEAD / 2 / height, LEGEND, fontsize=10, va="center")
    top = height - HEAD
    for scenes, row in zip(rows, tall):
        wide = _size(scenes[0].image)[0]
        panels: list[Scene | tuple[str, Tensor]] = list(scenes)
        if len(scenes) == 2:
            panels.insert(1, _magnified(scenes[0].image, scenes[1].image))
        for i, panel in enumerate(panels):
            left = MARGIN + i * (SIDE + GAP) + (SIDE - wide) / 2
            title, image = (panel.title, panel.image) if isinstance(panel, Scene) else panel
            place = ((left + wide / 2) / width, (top - TITLE / 2) / height)
            figure.text(*place, title, fontsize=10, weight="bold", ha="center", va="center")
            axes = figure.add_axes((left / width, (top - TITLE - row) / height, wide / width, row / height))
            _show(axes, image)
            if isinstance(panel, Scene):
                _draw_marks(axes, panel.marks, classes, scale=wide / image.shape[2])
        top -= TITLE + row + BETWEEN
    write_atomic(path, lambda file: figure.savefig(file, format="png", dpi=DOTS, metadata={"Software": None}))


def _size(image: Tensor) -> tuple[float, float]:
    """Width and height in inches of an image ``[3, H, W]``."""
    height, width = image.shape[-2:]
    return width * SIDE / max(height, width), height * SIDE / max(height, width)


def _magnified(clean: Tensor, attacked: Tensor) -> tuple[str, Tensor]:
    """A title and the change around grey, magnified by a whole number."""
    change = attacked - clean
    largest = float(change.abs().max())
    factor = max(1, int(HALF / largest + 1e-3)) if largest else 1
    if not largest:
        return "no change", torch.full_like(clean, HALF)
    return f"change x {factor}, at most {largest * 255:.3g}/255", (HALF + factor * change).clamp(0, 1)


def _show(axes: Axes, image: Tensor) -> None:
    height, width = image.shape[-2:]
    # The corner of the upper left pixel is the origin, as it is for boxes.
    axes.imshow(image.clamp(0, 1).permute(1, 2, 0).numpy(), extent=(0, width, height, 0), aspect="auto")
    axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])


def _draw_marks(axes: Axes, marks: Marks, classes: Sequence[str], *, scale: float) -> None:
    """Boxes with their names; the best detection is drawn last, above the others. ``scale``: inches a pixel."""
    for box, label in zip(marks.missed.tolist(), marks.missed_labels.tolist()):
        _box(axes, box, MISSED, classes[label], scale=scale, missed=True)
    together = zip(marks.boxes.tolist(), marks.scores.tolist(), marks.labels.tolist(), marks.right.tolist())
    for box, score, label, right in reversed(list(together)):
        # The mark is for those who cannot tell the two colours apart.
        mark = "\N{CHECK MARK} " if right else ""
        _box(axes, box, RIGHT if right else WRONG, f"{mark}{classes[label]} {score:.2f}", scale=scale)


def _box(axes: Axes, box: Sequence[float], colour: str, name: str, *, scale: float, missed: bool = False) -> None:
    x1, y1, x2, y2 = box
    outline = Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=1.8)
    outline.set(path_effects=[DARK if missed else LIGHT], linestyle=(0, (3, 2)) if missed else "solid")
    axes.add_patch(outline)
    right, bottom = axes.get_xlim()[1], axes.get_ylim()[0]
    long, high = len(name) / LETTERS / scale + 2, 0.16 / scale  # of the name, in pixels
    # Above the box, or inside it at the image's upper edge; a missed object's below it, away from detections' names.
    y = min(y2 + high, bottom) if missed else y1 if y1 > high else y1 + high
    x = max(0.0, min(x1, right - long))
    style = {"facecolor": colour, "edgecolor": "none", "pad": 1.2, "alpha": 0.9}
    ink = "black" if missed else "white"
    axes.text(x + 1, y - 1, name, fontsize=8, color=ink, va="bottom", bbox=style, clip_on=True)
