"""Charts: accuracy against steps and against eps as small SVG, which takes its colours from the page's style."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from natx.evaluation.robust import CLEAN
from natx.report.html_tags import Html, table, tag

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 420, 250, 46, 14, 18, 44  # in units of the drawing
COLOURS = 6
DASHES = ("none", "6 3", "2 3", "8 3 2 3")  # colour alone tells nothing to some readers
LETTER, GAP = 7, 3  # units that a letter takes, and between two labels
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
    """Accuracy against eps (Linf: in 1/255) as the check of growing eps found it; None where it found nothing."""
    swept = next((check for check in report.get("checks", ()) if check["id"] == SWEEP), {})
    points = [(eps, accuracy) for eps, accuracy in swept.get("points", ())]
    return Line(report["name"], points) if points else None


def step_chart(lines: Sequence[Line]) -> Html:
    """Accuracy against steps; empty without lines."""
    return chart(lines, title="Accuracy against steps", x_name="steps") if lines else Html()


def eps_chart(lines: Sequence[Line], *, threat: str) -> Html:
    """Accuracy against eps, at even distances whatever eps is; empty without lines.

    Args:
        lines: see :func:`sweep_line`.
        threat: the threat model as text; it gives eps its unit.
    """
    x_name = "eps (/255)" if "Linf" in threat else "eps"
    return chart(lines, title="Accuracy against eps", x_name=x_name, even=True) if lines else Html()


def chart(lines: Sequence[Line], *, title: str, x_name: str, even: bool = False) -> Html:
    """A figure with lines over a horizontal axis, and its numbers in a table that opens on demand.

    Args:
        lines: accuracies in percent; the vertical axis is always 0 to 100.
        title: what it shows.
        x_name: the horizontal axis.
        even: give every x that occurs the same distance to the next.
    """
    xs = sorted({x for line in lines for x, _ in line.points})
    places = {x: i / max(1, len(xs) - 1) if even else x / (xs[-1] or 1) for i, x in enumerate(xs)}
    at_x = {x: LEFT + place * (WIDTH - LEFT - RIGHT) for x, place in places.items()}
    drawing = tag(
        "svg",
        tag("title", title),
        *_axes(at_x, x_name=x_name),
        *(_curve(i, line, at_x, alone=len(lines) == 1) for i, line in enumerate(lines)),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=title,
    )
    known = [dict(line.points) for line in lines]
    rows = [(None, [f"{x:g}", *(f"{p[x]:.2f}" if x in p else "" for p in known)]) for x in xs]
    numbers = table([x_name, *(line.name for line in lines)], rows, caption=f"{title} (%)")
    legend = tag("div", *(tag("span", _mark(i), line.name) for i, line in enumerate(lines)), class_="legend")
    return tag(
        "figure",
        tag("figcaption", f"{title} (%)"),
        drawing,
        legend if len(lines) > 1 else None,
        tag("details", tag("summary", "The numbers"), numbers),
        class_="chart",
    )


def _y(accuracy: float) -> float:
    return TOP + (1 - accuracy / 100) * (HEIGHT - TOP - BOTTOM)


def _axes(at_x: dict[float, float], *, x_name: str) -> list[Html]:
    """Grid lines with their accuracies, the x that have room for a label, and the axis' name."""
    parts = []
    for accuracy in (0, 25, 50, 75, 100):
        y = _y(accuracy)
        parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=f"{y:.1f}", y2=f"{y:.1f}", class_="grid"))
        parts.append(tag("text", accuracy, x=LEFT - 8, y=f"{y + 4:.1f}", text_anchor="end"))
    for label, place, side in _with_room([(f"{x:g}", place, "middle") for x, place in at_x.items()]):
        parts.append(tag("text", label, x=f"{place:.1f}", y=HEIGHT - BOTTOM + 18, text_anchor=side))
    parts.append(tag("text", x_name, x=(LEFT + WIDTH - RIGHT) / 2, y=HEIGHT - 6, text_anchor="middle"))
    return parts


def _curve(number: int, line: Line, at_x: dict[float, float], *, alone: bool) -> Html:
    """A line with its points; their values are printed where it is the only one and they have room."""
    places = [(at_x[x], _y(accuracy)) for x, accuracy in line.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    parts = [tag("polyline", points=path, class_="curve", stroke=_colour(number), stroke_dasharray=_dash(number))]
    for (x, y), (value, accuracy) in zip(places, line.points):
        told = tag("title", f"{line.name}, {value:g}: {accuracy:.2f} %")
        parts.append(tag("circle", told, cx=f"{x:.1f}", cy=f"{y:.1f}", r=3.5, fill=_colour(number)))
    if alone:
        heights = {x: y for x, y in places}
        labels = [(f"{accuracy:.1f}", x, _side(x)) for (x, _), (_, accuracy) in zip(places, line.points)]
        for label, x, side in _with_room(labels):
            parts.append(tag("text", label, x=f"{x:.1f}", y=f"{heights[x] - 8:.1f}", text_anchor=side))
    return tag("g", *parts)


def _side(x: float) -> str:
    """How a value's label lies at its point, so that it stays within the chart."""
    return "start" if x < LEFT + 12 else "end" if x > WIDTH - RIGHT - 12 else "middle"


def _with_room(labels: Sequence[tuple[str, float, str]]) -> Iterator[tuple[str, float, str]]:
    """The labels (text, x, anchor; from left to right) that do not overlap one before them."""
    end = -math.inf
    for text, x, side in labels:
        width = LETTER * len(text)
        left = x - {"start": 0.0, "middle": 0.5, "end": 1.0}[side] * width
        if left >= end + GAP:
            yield text, x, side
            end = left + width


def _mark(number: int) -> Html:
    """A piece of a line for the legend."""
    look = {"stroke": _colour(number), "stroke_width": 3, "stroke_dasharray": _dash(number)}
    return tag("svg", tag("line", x1=0, x2=32, y1=5, y2=5, **look), viewBox="0 0 32 10", aria_hidden="true")


def _colour(number: int) -> str:
    return f"var(--s{number % COLOURS})"


def _dash(number: int) -> str:
    return DASHES[number % len(DASHES)]
