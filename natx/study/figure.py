"""A study as a figure: accuracies over a setting of the method."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from natx.report.cells import cell_values
from natx.runtime.files import write_atomic
from natx.study.rows import Study
from natx.study.run import row_reports

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
    figure = Figure(figsize=(7, 4.5))
    FigureCanvasAgg(figure)  # no window system, whatever matplotlib's settings say
    axes: Any = figure.add_subplot()
    for (column, checkpoint), line in lines.items():
        x, mean, deviation = zip(*sorted(line))
        colour = f"C{study.columns.index(column)}"
        axes.errorbar(
            x, mean, deviation, fmt="o" + STYLES[checkpoint], color=colour, capsize=3, label=f"{column}, {checkpoint}"
        )
    axes.set_xlabel(study.axis)
    axes.set_ylabel("accuracy (%)")
    axes.set_title(study.title, fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    write_atomic(
        path,
        lambda file: figure.savefig(file, format="png", dpi=DOTS, bbox_inches="tight", metadata={"Software": None}),
    )
    return True
