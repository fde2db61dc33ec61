"""What was collected of a model as plain numbers, section by section."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from natx.analysis.boundary import feature_margins, signed_distances
from natx.analysis.collect import CLEAN, Collected, View
from natx.analysis.embedding import embed, separation, standardise
from natx.analysis.series import series_section
from natx.analysis.sparsity import calibrate, confidence, log_distribution, mean_by_class, measures, others, profile
from natx.analysis.weights import angles, off_diagonal_mean, shortest_distances, symmetrised, weight_distances
from natx.errors import ConfigError

MATCHED = "matched confidence"
DIGITS = 6


def sparsity_section(
    views: Sequence[View], *, temperatures: Sequence[float], classes: int, wanted: float | None
) -> list[list[dict[str, Any]]]:
    """Sparsity of some models' views of the same images, for each at every temperature and at matched confidence.

    Args:
        views: one a model.
        temperatures: softmax temperatures.
        classes: number of classes that rows can be of.
        wanted: mean confidence at which to compare the models too, or None.
    """
    sections = []
    for view in views:
        at = [(f"tau={value:g}", value) for value in temperatures]
        if wanted is not None and (matched := calibrate(view.logits, wanted)) is not None:
            at.append((MATCHED, matched))
        sections.append([{"at": name, **_sparsity(view, value, classes)} for name, value in at])
    return sections


def lowest_confidence(views: Sequence[View]) -> float | None:
    """The mean confidence of the least confident model, at which several can be compared; None for one model."""
    return min(confidence(view.logits) for view in views) if len(views) > 1 else None


def series_by_view(views: Mapping[str, View], *, temperatures: Sequence[float]) -> dict[str, list[dict[str, Any]]]:
    """Eqs. 7 and 8 of each view at every temperature, as far as the adversary was asked about its pixels."""
    sections = {}
    for name, view in views.items():
        if view.adversary is not None:
            entries = [series_section(view.logits, view.adversary, temperature=tau) for tau in temperatures]
            sections[name] = [{"at": f"tau={entry['temperature']:g}", **entry} for entry in entries]
    return sections


def _sparsity(view: View, temperature: float, classes: int) -> dict[str, Any]:
    log_p = log_distribution(view.logits, temperature=temperature)
    # With two classes one is left, whose distribution says nothing.
    rest = log_distribution(others(view.logits, view.labels), temperature=temperature) if log_p.shape[1] > 2 else None
    return {
        "temperature": temperature,
        "confidence": float(log_p.amax(1).exp().mean()),
        "all": _means(measures(log_p)),
        "non_target": None if rest is None else _means(measures(rest)),
        "profile": profile(log_p),
        "non_target_profile": None if rest is None else profile(rest),
        "mean_output": mean_by_class(log_p.exp(), view.labels, classes),
    }


def _means(values: dict[str, Tensor]) -> dict[str, float]:
    return {name: float(value.mean()) for name, value in values.items()}


def boundary_section(collected: Collected, view: View, *, classes: int, eps: float | None) -> dict[str, Any]:
    """Distances of a view's rows from class hyperplanes and boundaries; see :mod:`natx.analysis.boundary`.

    Args:
        collected: the model, with its class layer.
        view: one of its views.
        classes: number of classes that rows can be of.
        eps: radius of an Linf ball to count the rows whose pixel margin is beyond, or None.
    """
    weight, features = linear_layer(collected, view)
    margins, norms = feature_margins(view.logits, view.labels, weight), features.double().norm(dim=1)
    distances = signed_distances(features, weight, collected.bias)
    pixels = None
    if view.margins is not None:
        pixels = spread(view.margins.double(), view.correct)
        if eps is not None:
            pixels["beyond_eps"] = 100 * float((view.margins > eps).double().mean())
    return {
        "signed_distance": mean_by_class(distances, view.labels, classes),
        "own_class_distance": float(distances.gather(1, view.labels[:, None]).mean()),
        "feature_norm": float(norms.mean()),
        "feature_margin": spread(margins, view.correct),
        "relative_margin": spread(margins / norms.clamp_min(1e-30), view.correct),
        "input_margin": pixels,
    }


def linear_layer(collected: Collected, view: View) -> tuple[Tensor, Tensor]:
    """The class layer's weight ``[K, D]`` and what it read ``[M, D]``; raises ConfigError without such a layer."""
    if collected.weight is None or view.features is None:
        raise ConfigError("the model has no linear class layer: leave out boundaries, weights and umap")
    return collected.weight, view.features


def spread(values: Tensor, correct: Tensor) -> dict[str, Any]:
    """Mean and quantiles of margins ``[M]``, of all rows and of those classified ``correct``; infinite ones counted."""
    finite = torch.isfinite(values)

    def described(rows: Tensor) -> dict[str, float | None]:
        if len(rows) == 0:
            return {"mean": None, "p10": None, "median": None, "p90": None}
        p10, median, p90 = torch.quantile(rows, torch.tensor([0.1, 0.5, 0.9], dtype=rows.dtype)).tolist()
        return {"mean": float(rows.mean()), "p10": p10, "median": median, "p90": p90}

    return {
        "all": described(values[finite]),
        "correct": described(values[finite & correct]),
        "infinite": int((~finite).sum()),
    }


def weight_section(weight: Tensor) -> dict[str, Any]:
    """Distances and angles between the rows of a class layer's weight ``[K, D]``; see :mod:`natx.analysis.weights`."""
    difference, shortest = weight_distances(weight), shortest_distances(weight)
    norms = weight.double().norm(dim=1)
    matrices = {
        "difference": difference,
        "shortest": shortest,
        "shortest_symmetrised": symmetrised(shortest),
        "angle": angles(weight),
    }
    means = {name: off_diagonal_mean(matrix) for name, matrix in matrices.items()}
    scale = float(norms.mean())
    relative = {name: means[name] / scale if scale else None for name in ("difference", "shortest_symmetrised")}
    return {**matrices, "norms": norms, "mean": means, "mean_over_norm": relative}


def separation_section(collected: Collected) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Separation of the classes in each view, and the standardised features of each view."""
    clean = collected.views[CLEAN]
    read = {name: linear_layer(collected, view)[1] for name, view in collected.views.items()}
    features = {name: standardise(rows, read[CLEAN]) for name, rows in read.items()}
    return {
        name: separation(features[CLEAN], clean.labels, features[name], view.labels)
        for name, view in collected.views.items()
    }, features


def picture(features: dict[str, Tensor], *, seed: int) -> dict[str, Tensor]:
    """UMAP positions ``[M, 2]`` of the rows of each view, fitted together; see :mod:`natx.analysis.embedding`."""
    positions = embed(torch.cat(list(features.values())), seed=seed)
    return dict(zip(features, positions.split([len(rows) for rows in features.values()])))


def plain(value: Any, *, largest: int) -> Any:
    """Tensors as nested lists of numbers with six digits, what is not finite as None.

    Args:
        value: dicts and lists of tensors, numbers and text.
        largest: a matrix of more rows becomes None.
    """
    if isinstance(value, Tensor):
        return None if value.dim() > 1 and len(value) > largest else plain(value.tolist(), largest=largest)
    if isinstance(value, dict):
        return {key: plain(entry, largest=largest) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry, largest=largest) for entry in value]
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value
