"""Figures are whole, and logarithmic where a linear axis would show one bar alone."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from natx.analysis import figures
from natx.report.pictures import drawn

NAMES = tuple(f"a class with a rather long name {i}" for i in range(10))


def models(count: int) -> list[Any]:
    return [SimpleNamespace(name=f"Model {i}\nof two lines", classes=NAMES, outputs=NAMES) for i in range(count)]


def margin(path: Path) -> int:
    """Pixels of plain background around a drawing."""
    ink = np.argwhere(np.asarray(Image.open(path).convert("L")) < 250)
    (top, left), (bottom, right) = ink.min(0), ink.max(0)
    width, height = Image.open(path).size
    return int(min(top, left, height - 1 - bottom, width - 1 - right))


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_titles_and_class_names_of_matrices_are_inside_the_picture(tmp_path: Path, count: int) -> None:
    matrices = [torch.rand(10, 10, generator=torch.Generator().manual_seed(i)) for i in range(count)]
    figures._write(tmp_path / "a.png", figures._matrices(models(count), matrices, "a distance"))
    assert margin(tmp_path / "a.png") >= 5


@pytest.mark.parametrize("name", [r"$\frac$", "5$ to 10$", "_mine", "_$x$", "plain"])
def test_names_are_drawn_as_they_are_and_stand_in_the_legend(name: str) -> None:
    figure = Figure()
    FigureCanvasAgg(figure)
    axes: Any = figure.add_subplot()
    axes.plot([0, 1], label=drawn(name))
    (text,) = axes.legend().get_texts()
    figure.savefig(io.BytesIO())  # a formula that is none would raise here
    assert text.get_text().replace(r"$\_$", "_").replace(r"\$", "$") == name


def test_titles_and_class_names_of_bars_are_inside_the_picture(tmp_path: Path) -> None:
    figure = figures._bars(models(2), [torch.linspace(0.1, 0.9, 10)] * 2, "a title", "a value")
    assert figure is not None
    figures._write(tmp_path / "a.png", figure)
    assert margin(tmp_path / "a.png") >= 5


@pytest.mark.parametrize(
    ("outputs", "scale"),
    [
        ([[0.97, 0.01, 0.01, 0.01]], "log"),
        ([[0.4, 0.3, 0.2, 0.1]], "linear"),
        ([[0.4, 0.3, 0.2, 0.1], [0.97, 0.01, 0.01, 0.01]], "log"),
    ],
)
def test_probabilities_are_logarithmic_where_one_bar_is_alone(outputs: list[list[float]], scale: str) -> None:
    values = [torch.tensor(row) for row in outputs]
    named = [SimpleNamespace(name=str(i), classes=NAMES[:4], outputs=NAMES[:4]) for i in range(len(values))]
    figure = figures._bars(named, values, "a title", "probability", positive=True)
    assert figure is not None and figure.axes[0].get_yscale() == scale
    assert figures._bars(named, values, "a title", "distance").axes[0].get_yscale() == "linear"
