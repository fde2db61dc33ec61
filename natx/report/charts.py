"""Charts: accuracy against steps and against eps as geometry that a template draws as SVG in the style's colours."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from natx.evaluation.robust import CLEAN
from natx.report.tables import Table, TableRow

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 420, 250, 46, 14, 18, 44  # in units of the drawing
COLOURS = 6
DASHES = ("none", "6 3", "2 3", "8 3 2 3")  # colour alone tells nothing to some readers
LETTER, GAP = 7, 3  # units that a letter takes, and between two labels
GRID = (0, 25, 50, 75, 100)  # accuracies of the lines across a chart
SWEEP = "G6"  # the check that sweeps eps


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
        name: what it shows.
        points: (x, accuracy in percent), x rising.
    """

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Label:
    """A text of a drawing; ``anchor`` is the end of it that lies at ``x``."""

    text: str
    x: float
    y: float
    anchor: str = "middle"


@dataclass(frozen=True)
class GridLine:
    """A horizontal line."""

    x1: float
    x2: float
    y: float


@dataclass(frozen=True)
class Point:
    """A point of a curve and what is said where a pointer rests on it."""

    x: float
    y: float
    text: str


@dataclass(frozen=True)
class Curve:
    """A line as it is drawn.

    Attributes:
        name: for the legend.
        colour: one of the style's.
        dash: the pattern of the line.
        points: from left to right.
        labels: values printed at the points.
    """

    name: str
    colour: str
    dash: str
    points: Sequence[Point]
    labels: Sequence[Label]

    @property
    def path(self) -> str:
        """The points as SVG lists them."""
        return " ".join(f"{point.x},{point.y}" for point in self.points)


@dataclass(frozen=True)
class Chart:
    """A drawing, in units of its own, and its numbers.

    Attributes:
        title: what it shows.
        grid: lines at round accuracies.
        labels: of both axes.
        curves: the lines.
        numbers: every point as a table.
        width: of the drawing.
        height: of the drawing.
    """

    title: str
    grid: Sequence[GridLine]
    labels: Sequence[Label]
    curves: Sequence[Curve]
    numbers: Table
    width: int = WIDTH
    height: int = HEIGHT


def step_lines(report: dict[str, Any]) -> list[Line]:
    """Accuracy against steps of each attack with a column per milestone; the clean accuracy is that of no step."""
    accuracy = {column["name"]: column["accuracy"] for column in report["columns"] if "accuracy" in column}
    lines = []
    for attack in report["attacks"]:
        columns, steps = attack["columns"], attack["settings"].get("milestones")
        if not steps or len(steps) != len(columns) or not {CLEAN, *columns} <= accuracy.keys():
            continue
        points = [(0, accuracy[CLEAN]), *((step, accuracy[column]) for step, column in zip(steps, columns))]
        lines.append(Line(columns[0].removesuffix(f"-{steps[0]}"), points))
    return lines


def sweep_line(report: dict[str, Any]) -> Line | None:
    """Accuracy against eps (Linf: in 1/255) as the check of growing eps measured it; None where it was not run."""
    swept: dict[str, Any] = next((check for check in report.get("checks", ()) if check["id"] == SWEEP), {})
    points = [(eps, accuracy) for eps, accuracy in swept.get("points", ())]
    return Line(report["name"], points) if points else None


def step_chart(lines: Sequence[Line]) -> Chart | None:
    """Accuracy against steps; None without lines."""
    return chart(lines, title="Accuracy against steps", x_name="steps") if lines else None


def eps_chart(lines: Sequence[Line], *, threat: str) -> Chart | None:
    """Accuracy against eps, at even distances whatever eps is; None without lines.

    Args:
        lines: see :func:`sweep_line`.
        threat: the threat model as text; it gives eps its unit.
    """
    return chart(lines, title="Accuracy against eps", x_name=eps_name(threat), even=True) if lines else None


def eps_name(threat: str) -> str:
    """The name of an axis of eps, with its unit, for a threat model as text."""
    return "eps (/255)" if "Linf" in threat else "eps"


def chart(lines: Sequence[Line], *, title: str, x_name: str, even: bool = False) -> Chart:
    """Lines over a horizontal axis.

    Args:
        lines: accuracies in percent; the vertical axis is always 0 to 100.
        title: what it shows.
        x_name: the horizontal axis.
        even: give every x that occurs the same distance to the next.
    """
    xs = sorted({x for line in lines for x, _ in line.points})
    places = {x: i / max(1, len(xs) - 1) if even else x / (xs[-1] or 1) for i, x in enumerate(xs)}
    at_x = {x: round(LEFT + place * (WIDTH - LEFT - RIGHT), 1) for x, place in places.items()}
    values = [dict(line.points) for line in lines]
    rows = [TableRow([f"{x:g}", *(f"{p[x]:.2f}" if x in p else "" for p in values)]) for x in xs]
    return Chart(
        title,
        grid=[GridLine(LEFT, WIDTH - RIGHT, _y(accuracy)) for accuracy in GRID],
        labels=_axis_labels(at_x, x_name=x_name),
        curves=[_curve(i, line, at_x, alone=len(lines) == 1) for i, line in enumerate(lines)],
        numbers=Table([x_name, *(line.name for line in lines)], rows, caption=f"{title} (%)"),
    )


def _y(accuracy: float) -> float:
    return round(TOP + (1 - accuracy / 100) * (HEIGHT - TOP - BOTTOM), 1)


def _axis_labels(at_x: dict[float, float], *, x_name: str) -> list[Label]:
    """The accuracies of the grid, the x that have room for a label, and the axis' name."""
    sides = [Label(str(accuracy), LEFT - 8, _y(accuracy) + 4, "end") for accuracy in GRID]
    beneath = [Label(f"{x:g}", place, HEIGHT - BOTTOM + 18) for x, place in at_x.items()]
    return [*sides, *_with_room(beneath), Label(x_name, (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6)]


def _curve(number: int, line: Line, at_x: dict[float, float], *, alone: bool) -> Curve:
    """A line with its points; their values are printed where it is the only one and they have room."""
    points = [Point(at_x[x], _y(value), f"{line.name}, {x:g}: {value:.2f} %") for x, value in line.points]
    values = [
        Label(f"{value:.1f}", point.x, round(point.y - 8, 1), _side(point.x))
        for point, (_, value) in zip(points, line.points)
    ]
    labels = list(_with_room(values)) if alone else []
    return Curve(line.name, f"var(--s{number % COLOURS})", DASHES[number % len(DASHES)], points, labels)


def _side(x: float) -> str:
    """How a value's label lies at its point, so that it stays within the chart."""
    return "start" if x < LEFT + 12 else "end" if x > WIDTH - RIGHT - 12 else "middle"


def _with_room(labels: Sequence[Label]) -> Iterator[Label]:
    """The labels (from left to right) that do not overlap one before them."""
    end = -math.inf
    for label in labels:
        width = LETTER * len(label.text)
        left = label.x - {"start": 0.0, "middle": 0.5, "end": 1.0}[label.anchor] * width
        if left >= end + GAP:
            yield label
            end = left + width
