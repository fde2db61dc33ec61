"""An analysis as files: analysis.json with all numbers, analysis.md and analysis.html with tables and figures."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from natx.analysis.series import TERMS
from natx.analysis.sparsity import MEASURES
from natx.report.cells import settings_text
from natx.report.embedded import embed
from natx.report.intervals import INTERVAL, interval_text
from natx.report.page import render_page
from natx.report.report_page import provenance_facts
from natx.report.tables import Table, TableRow
from natx.runtime.files import write_text

NUMBERS = re.compile(r"\[\n[^\[\]{}\"]*\]")  # a list of numbers in indented JSON; text holds no line breaks there
TITLE = "Analysis"
SHOWN = 4  # the series' terms up to which each has a column
Model = dict[str, Any]


def write_analysis(folder: Path, analysis: dict[str, Any]) -> None:
    """Write analysis.json, analysis.md and analysis.html atomically; the last has the figures in ``folder`` in it."""
    text = json.dumps(analysis, indent=1, ensure_ascii=False, allow_nan=False)
    # A row of a matrix in one line, or the file would be mostly line breaks.
    text = NUMBERS.sub(lambda match: " ".join(match[0].split()).replace("[ ", "[").replace(" ]", "]"), text)
    write_text(folder / "analysis.json", text + "\n")
    write_text(folder / "analysis.md", markdown(analysis))
    write_text(folder / "analysis.html", analysis_page(analysis, folder=folder))


def markdown(analysis: dict[str, Any]) -> str:
    """The whole analysis as Markdown."""
    lines = [f"# {TITLE}", "", f"Adversarial images: each model's own, {settings_text(analysis['attack'])}.", ""]
    lines += [*accuracy_table(analysis["models"]).markdown(), ""]
    lines += [f"{note}\n" for note in [*_notes(analysis), *_missing(analysis)]]
    for section in sections(analysis["models"]):
        lines += [f"## {section['title']}", "", *(f"- {name}: {text}" for name, text in section["terms"])]
        lines += [""] if section["terms"] else []
        for table in section["tables"]:
            lines += [f"{table.caption}:", ""] if len(section["tables"]) > 1 else []
            lines += [*table.markdown(), ""]
    lines += ["## Figures", ""] if analysis["figures"] else []
    for title, file in analysis["figures"].items():
        lines += [f"![{title}]({file})", "", f"*{title}*", ""]
    lines += ["## Models", "", *(f"- {name}: {text}" for name, text in _models(analysis))]
    return "\n".join(lines) + "\n"


def analysis_page(analysis: dict[str, Any], *, folder: Path) -> str:
    """The whole analysis as a page.

    Args:
        analysis: the content of analysis.json.
        folder: where its figures lie.
    """
    figures = [embed(folder / Path(file).name, title=title, text=title) for title, file in analysis["figures"].items()]
    return render_page(
        "analysis",
        title=TITLE,
        attack=settings_text(analysis["attack"]),
        accuracies=accuracy_table(analysis["models"]),
        notes=_notes(analysis),
        missing=_missing(analysis),
        sections=sections(analysis["models"]),
        figures=figures,
        models=_models(analysis),
        provenance=provenance_facts(analysis["provenance"]),
    )


def _notes(analysis: dict[str, Any]) -> list[str]:
    """How the numbers are to be read."""
    by_model = [f"Note ({model['name']}): {note}." for model in analysis["models"] for note in model["notes"]]
    return [*(f"Note: {note}." for note in analysis["notes"]), *by_model]


def _missing(analysis: dict[str, Any]) -> list[str]:
    """What could not be done."""
    return [f"Missing: {text}." for text in analysis["missing"]]


def _models(analysis: dict[str, Any]) -> list[tuple[str, str]]:
    """Each model's name and settings."""
    return [
        (model["name"], ", ".join(f"{key} {_short(value)}" for key, value in model["settings"].items()))
        for model in analysis["models"]
    ]


def accuracy_table(models: Sequence[Model]) -> Table:
    """How many rows there are, and how many of them each model gets right."""
    rows = []
    for model in models:
        counts = list(dict.fromkeys(model["rows"].values()))
        cells = []
        for view, accuracy in model["accuracy"].items():
            correct = round(accuracy * model["rows"][view] / 100)
            cells += [f"{accuracy:.2f}", interval_text(correct, model["rows"][view])]
        rows.append(TableRow([model["name"], "/".join(map(str, counts)), *cells]))
    head = ["", "rows", *(name for view in models[0]["accuracy"] for name in (f"{view} accuracy (%)", INTERVAL))]
    return Table(head, rows, caption="Accuracy of the rows that were analysed")


def sections(models: Sequence[Model]) -> list[dict[str, Any]]:
    """The parts that the models have: title, terms with what they mean, and tables."""
    parts = {
        "sparsity": ("Sparsity of the output", list(MEASURES.items()), sparsity_tables),
        "series": ("Series of the nasty term, Eqs. 7 and 8", [], series_tables),
        "boundaries": ("Distances from boundaries", [], boundary_tables),
        "weights": ("Weights of the class layer", [], weight_tables),
        "separation": ("Separation of the features", [], separation_tables),
    }
    return [
        {"title": title, "terms": terms, "tables": tables(models)}
        for key, (title, terms, tables) in parts.items()
        if any(key in model for model in models)
    ]


def sparsity_tables(models: Sequence[Model]) -> list[Table]:
    """The measures of sparsity over all classes and over those that are not the target."""
    tables = []
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
                    rows.append(TableRow([model["name"], view, where, _short(entry["confidence"]), *values]))
        tables.append(Table(["", "images", "at", "confidence", *names], rows, caption=title, words=(0, 1, 2)))
    return tables


def series_tables(models: Sequence[Model]) -> list[Table]:
    """Where the series converges, and what its terms are worth against the term itself."""
    rows = []
    for model in models:
        for view, entries in model.get("series", {}).items():
            for entry in entries:
                inside = entry["converging_images"] or {"negative_kl": None, "terms": []}
                cells = [_short(entry["converging"]), _short(entry["largest_ratio"]), _short(entry["negative_kl"])]
                cells += [_short(term) for term in entry["terms"][1:SHOWN]]
                cells += [_short(inside["negative_kl"]), _short(_sum(inside["terms"]))]
                rows.append(TableRow([model["name"], view, entry["at"], *cells]))
    terms = [f"term {k}" for k in range(2, SHOWN + 1)]
    head = ["", "images", "at", "% of the images where it converges", "largest q_a / q_t, median", "-KL", *terms]
    caption = "Means over the images; the first term is zero, as both outputs sum to one"
    return [Table([*head, "-KL where it converges", f"sum of {TERMS} terms there"], rows, caption, words=(0, 1, 2))]


def _sum(terms: Sequence[float | None]) -> float | None:
    """The sum of some terms; None where there are none, or one is not finite."""
    finite = [term for term in terms if term is not None]
    return sum(finite) if terms and len(finite) == len(terms) else None


def boundary_tables(models: Sequence[Model]) -> list[Table]:
    """Eq. 10 and the margins in feature and pixel space."""
    rows = []
    for model in models:
        for view, section in model.get("boundaries", {}).items():
            margin, relative, pixels = section["feature_margin"], section["relative_margin"], section["input_margin"]
            cells = [
                model["name"],
                view,
                _short(section["own_class_distance"]),
                _short(section["feature_norm"]),
                _short(margin["all"]["mean"]),
                _short(margin["correct"]["median"]),
                _short(relative["correct"]["median"]),
                _pixels(pixels and pixels["correct"]["median"]),
                _short(pixels and pixels["infinite"]),
                _short(pixels and pixels.get("beyond_eps")),
            ]
            rows.append(TableRow(cells))
    titles = ["own class, Eq. 10", "norm of the features", "feature margin, mean", "median of the correct"]
    titles += ["over the norm", "pixel margin, median of the correct", "without gradient"]
    titles += ["% with a pixel margin beyond eps"]
    return [Table(["", "images", *titles], rows, "Distances in feature space and in pixel space", words=(0, 1))]


def weight_tables(models: Sequence[Model]) -> list[Table]:
    """Eqs. 11 and 12 and the angles."""
    rows = []
    for model in models:
        if "weights" in model:
            mean, relative = model["weights"]["mean"], model["weights"]["mean_over_norm"]
            values = [mean["difference"], relative["difference"], mean["shortest_symmetrised"]]
            values += [relative["shortest_symmetrised"], mean["angle"]]
            rows.append(TableRow([model["name"], *map(_short, values)]))
    titles = ["Eq. 11, mean", "over the mean norm", "Eq. 12, mean of both directions", "over the mean norm"]
    return [Table(["", *titles, "angle (degrees)"], rows, caption="Distances between the weights of classes")]


def separation_tables(models: Sequence[Model]) -> list[Table]:
    """How far apart the classes' features are."""
    rows = [
        TableRow([model["name"], view, *(_short(section[key]) for key in ("silhouette", "fisher", "knn_accuracy"))])
        for model in models
        for view, section in model.get("separation", {}).items()
    ]
    titles = ["silhouette", "Fisher ratio", "nearest neighbours (%)"]
    return [Table(["", "images", *titles], rows, "Separation of the classes by their features", words=(0, 1))]


def _pixels(value: float | None) -> str:
    return "-" if value is None else f"{255 * value:.3g}/255"


def _short(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
