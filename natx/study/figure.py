"""A study as a figure: accuracies over a setting of the method, or each training as a point."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from natx.report.cells import cell_values
from natx.report.intervals import counts, interval
from natx.report.pictures import drawn
from natx.runtime.files import write_atomic
from natx.study.rows import Study
from natx.study.run import RowReports, row_reports

Coordinate = tuple[float, float, float]  # a number and the ends of its interval
MINUTES = "minutes"
MARKERS = "osD^vP*X"
STYLES = {"best": "-", "last": "--"}
DOTS = 120  # an inch


def points(
    study: Study, work_dir: Path, *, options: dict[str, Any] | None = None
) -> dict[tuple[str, str], list[tuple[float, float, float]]]:
    """(x, mean, standard deviation) over the seeds by column and checkpoint, where there are reports.

    Args:
        study: a study whose rows have an ``x``.
        work_dir: its folder.
        options: overrides of every training config.
    """
    lines: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    for row in study.rows:
        reports = row_reports(study, row, work_dir, options=options).reports
        cells = [cell_values(report, study.columns) for report in reports if report]
        for column, values in zip(study.columns, zip(*cells)):
            if row.x is None or None in values:
                continue
            numbers = [value[0] for value in values]
            deviation = statistics.stdev(numbers) if len(numbers) > 1 else 0.0
            lines.setdefault((column, row.checkpoint), []).append((row.x, statistics.fmean(numbers), deviation))
    return lines


def training_points(study: Study, rows: Sequence[RowReports]) -> dict[str, list[tuple[Coordinate, Coordinate]]]:
    """Each training's place in the study's plot, by row: x and y, each a number with its interval (one for minutes).

    Args:
        study: a study with a ``plot``.
        rows: its rows with their reports.
    """
    places: dict[str, list[tuple[Coordinate, Coordinate]]] = {}
    for one in rows:
        for report in filter(None, one.reports):
            x, y = (_coordinate(report, name) for name in (study.plot.x, study.plot.y)) if study.plot else (None, None)
            if x is not None and y is not None:
                places.setdefault(one.row.label, []).append((x, y))
    return places


def _coordinate(report: dict[str, Any], name: str) -> Coordinate | None:
    """A column's accuracy with its interval, or the minutes of training; None where a report has none."""
    if name == MINUTES:
        training = report.get("training")
        return None if training is None else (training["minutes"],) * 3
    shares = counts(report)
    if name not in shares:
        return None
    right, images = shares[name]
    return (100 * right / images, *interval(right, images))


def draw_plot(path: Path, study: Study, work_dir: Path, *, options: dict[str, Any] | None = None) -> bool:
    """Draw every training as a point with its 95 % intervals; False where nothing can be drawn.

    Args:
        path: a .png file, replaced whole or not at all.
        study: a study with a ``plot``.
        work_dir: its folder.
        options: overrides of every training config.
    """
    rows = [row_reports(study, row, work_dir, options=options) for row in study.rows]
    places = training_points(study, rows)
    if not places or study.plot is None:
        return False
    figure, axes = _axes()
    for number, (name, trainings) in enumerate(places.items()):
        for seed, (x, y) in enumerate(trainings):
            bars = [[[value - low], [high - value]] for value, low, high in (x, y)]
            axes.errorbar(
                x[0],
                y[0],
                yerr=bars[1],
                xerr=bars[0],
                fmt=MARKERS[number % len(MARKERS)],
                color=f"C{number % 10}",
                elinewidth=0.7,
                label=drawn(name) if seed == 0 else None,
            )
    axes.set_xlabel("minutes of training" if study.plot.x == MINUTES else drawn(f"{study.plot.x}, accuracy in %"))
    axes.set_ylabel(drawn(f"{study.plot.y}, accuracy in %"))
    axes.set_title(drawn(f"{study.title}: each training, 95 % intervals"), fontsize=9)
    _save(path, figure, axes)
    return True


def draw_figure(path: Path, study: Study, work_dir: Path, *, options: dict[str, Any] | None = None) -> bool:
    """Draw the study's columns over its rows' ``x``, with the deviation over the seeds; False where nothing ran.

    Args:
        path: a .png file, replaced whole or not at all.
        study: a study with an ``axis``.
        work_dir: its folder.
        options: overrides of every training config.
    """
    lines = points(study, work_dir, options=options)
    if not lines:
        return False
    figure, axes = _axes()
    for (column, checkpoint), line in lines.items():
        x, mean, deviation = zip(*sorted(line))
        colour = f"C{study.columns.index(column)}"
        label = drawn(f"{column}, {checkpoint}")
        axes.errorbar(x, mean, deviation, fmt="o" + STYLES[checkpoint], color=colour, capsize=3, label=label)
    axes.set_xlabel(drawn(study.axis or ""))
    axes.set_ylabel("accuracy (%)")
    axes.set_title(drawn(study.title), fontsize=10)
    _save(path, figure, axes)
    return True


def _axes() -> tuple[Figure, Any]:
    figure = Figure(figsize=(7, 4.5))
    FigureCanvasAgg(figure)  # no window system, whatever matplotlib's settings say
    return figure, figure.add_subplot()


def _save(path: Path, figure: Figure, axes: Any) -> None:
    """Write a figure with its legend beside it."""
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    write_atomic(
        path,
        lambda file: figure.savefig(file, format="png", dpi=DOTS, bbox_inches="tight", metadata={"Software": None}),
    )
