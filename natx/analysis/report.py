"""An analysis as files: analysis.json with all numbers, analysis.md with tables and figures."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from natx.analysis.sparsity import MEASURES
from natx.report.cells import settings_text
from natx.runtime.files import write_text

NUMBERS = re.compile(r"\[\n[^\[\]{}\"]*\]")  # a list of numbers in indented JSON; text holds no line breaks there


def write_analysis(folder: Path, analysis: dict[str, Any]) -> None:
    """Write analysis.json and analysis.md atomically."""
    text = json.dumps(analysis, indent=1, ensure_ascii=False, allow_nan=False)
    # A row of a matrix in one line, or the file would be mostly line breaks.
    text = NUMBERS.sub(lambda match: " ".join(match[0].split()).replace("[ ", "[").replace(" ]", "]"), text)
    write_text(folder / "analysis.json", text + "\n")
    write_text(folder / "analysis.md", markdown(analysis))


def markdown(analysis: dict[str, Any]) -> str:
    """The whole analysis as Markdown."""
    models, attack = analysis["models"], analysis["attack"]
    lines = ["# Analysis", "", f"Adversarial images: each model's own, {settings_text(attack)}.", ""]
    lines += _table(["", "rows", *(f"{view} accuracy (%)" for view in models[0]["accuracy"])], _accuracies(models))
    lines += [f"Note: {note}.\n" for note in analysis["notes"]]
    lines += [f"Note ({model['name']}): {note}.\n" for model in models for note in model["notes"]]
    lines += [f"Missing: {text}.\n" for text in analysis["missing"]]
    if any("sparsity" in model for model in models):
        lines += ["## Sparsity of the output", "", *_sparsity(models)]
    if any("boundaries" in model for model in models):
        lines += ["## Distances from boundaries", "", *_boundaries(models)]
    if any("weights" in model for model in models):
        lines += ["## Weights of the class layer", "", *_weights(models)]
    if any("separation" in model for model in models):
        lines += ["## Separation of the features", "", *_separation(models)]
    lines += ["## Figures", ""]
    for title, file in analysis["figures"].items():
        lines += [f"![{title}]({file})", "", f"*{title}*", ""]
    lines += ["## Models", ""]
    for model in models:
        settings = ", ".join(f"{key} {_short(value)}" for key, value in model["settings"].items())
        lines.append(f"- {model['name']}: {settings}")
    return "\n".join(lines) + "\n"


def _accuracies(models: Sequence[dict[str, Any]]) -> Iterator[list[Any]]:
    for model in models:
        rows = list(dict.fromkeys(model["rows"].values()))
        yield [model["name"], "/".join(map(str, rows)), *(f"{value:.2f}" for value in model["accuracy"].values())]


def _sparsity(models: Sequence[dict[str, Any]]) -> list[str]:
    lines = [f"- {name}: {text}" for name, text in MEASURES.items()] + [""]
    for key, title in (("all", "All classes"), ("non_target", "Non-target classes, renormalised")):
        names = [name for name in MEASURES if name in (models[0]["sparsity"]["clean"][0][key] or {})]
        if not names:
            continue
        rows = []
        for model in models:
            for view, entries in model["sparsity"].items():
                for entry in entries:
                    where = f"{entry['at']} (tau={entry['temperature']:.4g})" if " " in entry["at"] else entry["at"]
                    values = [_short(entry[key][name]) for name in names]
                    rows.append([model["name"], view, where, _short(entry["confidence"]), *values])
        lines += [f"{title}:", "", *_table(["", "images", "at", "confidence", *names], rows)]
    return lines


def _boundaries(models: Sequence[dict[str, Any]]) -> list[str]:
    rows = []
    for model in models:
        for view, found in model.get("boundaries", {}).items():
            margin, relative, pixels = found["feature_margin"], found["relative_margin"], found["input_margin"]
            rows.append(
                [
                    model["name"],
                    view,
                    _short(found["own_class_distance"]),
                    _short(found["feature_norm"]),
                    _short(margin["all"]["mean"]),
                    _short(margin["correct"]["median"]),
                    _short(relative["correct"]["median"]),
                    _pixels(pixels and pixels["correct"]["median"]),
                    _short(pixels and pixels["infinite"]),
                    _short(pixels and pixels.get("beyond_eps")),
                ]
            )
    titles = ["own class, Eq. 10", "norm of the features", "feature margin, mean", "median of the correct"]
    titles += [
        "over the norm",
        "pixel margin, median of the correct",
        "without gradient",
        "% with a pixel margin beyond eps",
    ]
    return _table(["", "images", *titles], rows)


def _weights(models: Sequence[dict[str, Any]]) -> list[str]:
    rows = []
    for model in models:
        if "weights" in model:
            mean, relative = model["weights"]["mean"], model["weights"]["mean_over_norm"]
            values = [mean["difference"], relative["difference"], mean["shortest_symmetrised"]]
            values += [relative["shortest_symmetrised"], mean["angle"]]
            rows.append([model["name"], *map(_short, values)])
    titles = ["Eq. 11, mean", "over the mean norm", "Eq. 12, mean of both directions", "over the mean norm"]
    return _table(["", *titles, "angle (degrees)"], rows)


def _separation(models: Sequence[dict[str, Any]]) -> list[str]:
    rows = [
        [model["name"], view, *(_short(found[key]) for key in ("silhouette", "fisher", "knn_accuracy"))]
        for model in models
        for view, found in model.get("separation", {}).items()
    ]
    return _table(["", "images", "silhouette", "Fisher ratio", "nearest neighbours (%)"], rows)


def _table(titles: Sequence[str], rows: Any) -> list[str]:
    lines = ["| " + " | ".join(titles) + " |", "|---|" + "---:|" * (len(titles) - 1)]
    return [*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows), ""]


def _pixels(value: float | None) -> str:
    return "-" if value is None else f"{255 * value:.3g}/255"


def _short(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
