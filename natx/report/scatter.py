"""A drawing of points with intervals: two shares in percent against each other, as geometry that a template draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from natx.report.charts import BOTTOM, COLOURS, GRID, LEFT, RIGHT, TOP, WIDTH, Label

HEIGHT = 340  # both axes are percent: nearly a square
Span = tuple[float, float]


@dataclass(frozen=True)
class ScatterPoint:
    """A point: its name, (x, y) in percent, and the interval of each."""

    name: str
    place: tuple[float, float]
    x_ends: Span
    y_ends: Span


@dataclass(frozen=True)
class Mark:
    """A point as it is drawn, with the ends of its bars."""

    x: float
    y: float
    left: float
    right: float
    high: float
    low: float
    colour: str
    text: str


@dataclass(frozen=True)
class AxisLine:
    """A line of the grid."""

    x1: float
    x2: float
    y1: float
    y2: float


@dataclass(frozen=True)
class Scatter:
    """A drawing, in units of its own."""

    title: str
    grid: Sequence[AxisLine]
    labels: Sequence[Label]
    marks: Sequence[Mark]
    width: int = WIDTH
    height: int = HEIGHT


def scatter(points: Sequence[ScatterPoint], *, title: str, x_name: str, y_name: str) -> Scatter:
    """Points on axes from 0 to 100 percent; points of one name have one colour."""
    names = list(dict.fromkeys(point.name for point in points))
    grid = [AxisLine(LEFT, WIDTH - RIGHT, _y(share), _y(share)) for share in GRID]
    grid += [AxisLine(_x(share), _x(share), _y(0), _y(100)) for share in GRID]
    labels = [Label(str(share), LEFT - 8, _y(share) + 4, "end") for share in GRID]
    labels += [Label(str(share), _x(share), HEIGHT - BOTTOM + 18) for share in GRID]
    labels += [Label(x_name, (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6), Label(y_name, LEFT, TOP - 6, "start")]
    return Scatter(title, grid, labels, [_mark(point, names.index(point.name)) for point in points])


def _mark(point: ScatterPoint, number: int) -> Mark:
    x, y = point.place
    return Mark(
        _x(x),
        _y(y),
        left=_x(point.x_ends[0]),
        right=_x(point.x_ends[1]),
        high=_y(point.y_ends[1]),
        low=_y(point.y_ends[0]),
        colour=f"var(--s{number % COLOURS})",
        text=f"{point.name}: {x:.2f} %, {y:.2f} %",
    )


def _x(share: float) -> float:
    return round(LEFT + share / 100 * (WIDTH - LEFT - RIGHT), 1)


def _y(share: float) -> float:
    return round(TOP + (1 - share / 100) * (HEIGHT - TOP - BOTTOM), 1)
