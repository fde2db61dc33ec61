"""The figures of an analysis: the paper's Figures 3 to 8 for some models side by side, as PNG."""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from natx.analysis.boundary import feature_margins
from natx.analysis.collect import CLEAN
from natx.report.pictures import drawn
from natx.runtime.files import write_atomic

DOTS = 110  # an inch
COLOURS = 256
NAMED = 30  # classes up to which axes name them, and bars are drawn of
FAINTEST = 1e-5  # probabilities below it look alike
FLAT = 0.05  # of the highest bar: where every other bar is below it, a linear axis shows one bar
EDGE = 0.1  # inches around a drawing
STYLES = {CLEAN: "-"}  # others are dashed


def draw_figures(
    folder: Path, subjects: Sequence[Any], sections: Sequence[dict[str, Any]], *, chosen: int
) -> dict[str, str]:
    """Draw what the sections hold; file names in ``folder`` by what they show.

    Args:
        folder: gets the files, each replaced whole.
        subjects: the models (:class:`natx.analysis.compare.Subject`).
        sections: of each model, with tensors.
        chosen: the class whose bars are drawn.
    """
    files: dict[str, str] = {}

    def keep(file: str, title: str, figure: Figure | None) -> None:
        if figure is not None:
            _write(folder / file, figure)
            files[title] = file

    title = subjects[0].classes[chosen]
    subjects = [_drawn(one) for one in subjects]
    shown = subjects[0].classes[chosen]
    if "sparsity" in sections[0]:
        keep("mean_output.png", "mean output of each true class, tau=1 (Figs. 3 and 8)", _outputs(subjects, sections))
        keep("profiles.png", "sorted probabilities (Fig. 3)", _profiles(subjects, sections))
        bars = [section["sparsity"][CLEAN][0]["mean_output"][chosen] for section in sections]
        figure = _bars(subjects, bars, f"mean clean output of class {shown}, tau=1", "probability", positive=True)
        keep("class_output.png", f"mean output of class {title} (Fig. 8)", figure)
    linear = [(one, section) for one, section in zip(subjects, sections) if one.collected.weight is not None]
    if linear and "boundaries" in linear[0][1]:
        models = [one for one, _ in linear]
        bars = [section["boundaries"][CLEAN]["signed_distance"][chosen] for _, section in linear]
        figure = _bars(models, bars, f"clean rows of class {shown}: mean signed distance, Eq. 10", "distance")
        keep("signed_distance.png", f"signed distances of class {title}, Eq. 10 (Fig. 6)", figure)
        keep("margins.png", "margins in feature and pixel space", _margins(models))
    if linear and "weights" in linear[0][1]:
        for key, file, text in (
            ("difference", "weight_distance.png", "weight distances, Eq. 11 (Fig. 7)"),
            ("shortest_symmetrised", "shortest_distance.png", "Eq. 12, mean of both directions (Fig. 4)"),
        ):
            matrices = [section["weights"][key] for _, section in linear]
            keep(file, text, _matrices([one for one, _ in linear], matrices, text))
    pictured = [(one, section["umap"]) for one, section in zip(subjects, sections) if "umap" in section]
    if pictured:
        keep("umap.png", "UMAP of the features (Fig. 5)", _scatter(pictured))
    return files


def _drawn(subject: Any) -> Any:
    """A model whose name, and whose classes', are drawn as they are."""
    other = copy.copy(subject)
    other.name, other.classes, other.outputs = (
        drawn(subject.name),
        tuple(map(drawn, subject.classes)),
        tuple(map(drawn, subject.outputs)),
    )
    return other


def _figure(rows: int, columns: int, *, width: float = 4.2, height: float = 3.8) -> tuple[Figure, np.ndarray]:
    """A figure and its axes ``[rows, columns]``; sizes of a panel in inches."""
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    FigureCanvasAgg(figure)  # no window system, whatever matplotlib's settings say
    return figure, figure.subplots(rows, columns, squeeze=False)


def _write(path: Path, figure: Figure) -> None:
    """Save with a palette that covers rare colours too: drawings have few, and the files are a third of the size.

    The file is as large as what is drawn, so that no title and no name is cut off at its edge.
    """
    whole = io.BytesIO()
    figure.savefig(whole, format="png", dpi=DOTS, bbox_inches="tight", pad_inches=EDGE)
    image = Image.open(whole).convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    write_atomic(path, lambda file: image.save(file, "PNG", optimize=True))


def _name_classes(axis: Any, names: Sequence[str], *, rotation: float = 0) -> None:
    if len(names) <= NAMED:
        axis.set_ticks(range(len(names)), names, fontsize=7, rotation=rotation)


def _outputs(subjects: Sequence[Any], sections: Sequence[dict[str, Any]]) -> Figure:
    views = list(sections[0]["sparsity"])
    figure, axes = _figure(len(views), len(subjects))
    for row, view in enumerate(views):
        for column, (one, section) in enumerate(zip(subjects, sections)):
            ax: Any = axes[row, column]
            matrix = section["sparsity"][view][0]["mean_output"].clamp_min(FAINTEST)
            image = ax.imshow(matrix, norm=LogNorm(FAINTEST, 1), aspect="auto", cmap="viridis")
            ax.set_title(f"{one.name}, {view}", fontsize=9)
            _name_classes(ax.xaxis, one.outputs, rotation=90)
            _name_classes(ax.yaxis, one.classes)
            ax.set(xlabel="output", ylabel="true class")
    figure.colorbar(image, ax=axes, label="mean probability")
    return figure


def _profiles(subjects: Sequence[Any], sections: Sequence[dict[str, Any]]) -> Figure:
    views = [entries for section in sections for entries in section["sparsity"].values()]
    at = list(dict.fromkeys(entry["at"] for entries in views for entry in entries))
    kinds = [k for k in ("profile", "non_target_profile") if sections[0]["sparsity"][CLEAN][0][k] is not None]
    figure, axes = _figure(len(kinds), len(at))
    for row, kind in enumerate(kinds):
        for column, where in enumerate(at):
            ax: Any = axes[row, column]
            for number, (one, section) in enumerate(zip(subjects, sections)):
                for view, entries in section["sparsity"].items():
                    for entry in entries:
                        if entry["at"] != where:
                            continue
                        y = entry[kind].clamp_min(1e-300)
                        style = STYLES.get(view, "--")
                        ax.plot(range(1, len(y) + 1), y, style, color=f"C{number}", label=f"{one.name}, {view}")
            ax.set_yscale("log")
            ax.set_ylim(bottom=max(FAINTEST, ax.get_ylim()[0]))
            ax.set_title(f"{'all classes' if kind == 'profile' else 'non-target classes'}, {where}", fontsize=9)
            ax.set(xlabel="rank", ylabel="mean probability")
            ax.grid(alpha=0.3)
    axes[0, 0].legend(fontsize=7)
    return figure


def _bars(
    subjects: Sequence[Any], values: Sequence[Tensor], title: str, label: str, *, positive: bool = False
) -> Figure | None:
    """One group of bars a class; None where the class has no rows.

    Args:
        subjects: the models.
        values: of each model ``[K]``, one an output.
        title: the figure's.
        label: what the vertical axis is.
        positive: the values are probabilities; their axis is logarithmic where a linear one shows one bar alone.
    """
    stacked = torch.stack(list(values))
    if not bool(torch.isfinite(stacked).all()):
        return None
    names, count = subjects[0].outputs, stacked.shape[1]
    highest = stacked.amax(0).topk(min(NAMED, count)).indices.sort().values
    figure, axes = _figure(1, 1, width=max(5.0, 0.4 * len(highest) * (1 + len(subjects) / 3)))
    ax: Any = axes[0, 0]
    for number, (one, row) in enumerate(zip(subjects, stacked)):
        place = np.arange(len(highest)) + 0.8 * (number - (len(subjects) - 1) / 2) / len(subjects)
        ax.bar(place, row[highest], width=0.8 / len(subjects), label=one.name)
    ax.set_xticks(range(len(highest)), [names[i] for i in highest.tolist()], fontsize=7, rotation=45, ha="right")
    if positive and one_bar_alone(stacked):
        ax.set_yscale("log")
        ax.set_ylim(max(FAINTEST, float(stacked.min()) / 2), 1)
        label += ", logarithmic"
    else:
        ax.axhline(0, color="black", linewidth=0.6)
    ax.set_title(title + (f" (the {NAMED} largest of {count})" if count > NAMED else ""), fontsize=9)
    ax.set_ylabel(label)
    ax.legend(fontsize=7)
    return figure


def one_bar_alone(values: Tensor) -> bool:
    """Whether on a linear axis some model's bars ``[models, K]`` would seem to be a single one."""
    highest = values.topk(min(2, values.shape[1]), dim=1).values
    return bool((highest[:, -1] < FLAT * values.max()).any())


def _margins(subjects: Sequence[Any]) -> Figure:
    """Cumulative distributions over the rows, of both kinds of margins."""
    figure, axes = _figure(1, 2, width=5)
    for number, one in enumerate(subjects):
        for view, rows in one.collected.views.items():
            style, label = STYLES.get(view, "--"), f"{one.name}, {view}"
            margins = feature_margins(rows.logits, rows.labels, one.collected.weight)
            relative = margins / rows.features.double().norm(dim=1).clamp_min(1e-30)
            for ax, values in ((axes[0, 0], relative), (axes[0, 1], None if rows.margins is None else rows.margins)):
                if values is not None:
                    x = values[values < torch.inf].sort().values
                    ax.plot(x, np.arange(1, len(x) + 1) / len(values), style, color=f"C{number}", label=label)
    axes[0, 0].set(xlabel="feature margin / norm of the features", ylabel="share of the rows below")
    axes[0, 1].set(xlabel="first-order margin in pixels of [0,1] (Linf)", ylabel="share of the rows below")
    for ax in axes[0]:
        ax.axvline(0, color="black", linewidth=0.6)
        ax.grid(alpha=0.3)
        ax.legend(fontsize=7)
    return figure


def _matrices(subjects: Sequence[Any], matrices: Sequence[Tensor], title: str) -> Figure:
    """Heat maps on one scale, two beside each other: more would be too small to read on a page."""
    columns = min(2, len(subjects))
    figure, axes = _figure(math.ceil(len(subjects) / columns), columns)
    highest = max(float(torch.nan_to_num(matrix).max()) for matrix in matrices)
    for ax in axes.flat[len(subjects) :]:
        ax.set_axis_off()
    for ax, one, matrix in zip(axes.flat, subjects, matrices):
        image = ax.imshow(matrix, vmin=0, vmax=highest or 1, cmap="viridis")
        ax.set_title(one.name, fontsize=9)
        _name_classes(ax.xaxis, one.outputs, rotation=90)
        _name_classes(ax.yaxis, one.outputs)
    figure.colorbar(image, ax=axes, label=title)
    return figure


def _scatter(pictured: Sequence[tuple[Any, dict[str, Any]]]) -> Figure:
    """A panel a model and view, coloured by true class; a model's views share axes, because they share the fit."""
    views, count = list(pictured[0][1]), len(pictured[0][0].classes)
    colours = "tab10" if count <= 10 else "tab20" if count <= 20 else "turbo"
    figure, axes = _figure(len(views), len(pictured))
    for column, (one, positions) in enumerate(pictured):
        together = np.concatenate([np.asarray(rows) for rows in positions.values()])
        low, high = together.min(0), together.max(0)
        for row, view in enumerate(views):
            ax: Any = axes[row, column]
            points = np.asarray(positions[view])
            labels = one.collected.views[view].labels
            image = ax.scatter(
                *points.T,
                c=labels,
                cmap=colormaps[colours].resampled(count),
                s=5,
                vmin=-0.5,
                vmax=count - 0.5,
                linewidths=0,
            )
            ax.set(xlim=_room(low[0], high[0]), ylim=_room(low[1], high[1]), xticks=[], yticks=[])
            ax.set_title(f"{one.name}, {view}", fontsize=9)
    bar = figure.colorbar(image, ax=axes, label="true class")
    _name_classes(bar.ax.yaxis, pictured[0][0].classes)
    return figure


def _room(low: float, high: float) -> tuple[float, float]:
    edge = 0.04 * (high - low) or 1.0
    return low - edge, high + edge
