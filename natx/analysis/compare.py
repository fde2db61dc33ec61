"""Checkpoints side by side: run each over the same images, and put the sections together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from natx.analysis.collect import CLEAN
from natx.analysis.embedding import FIT
from natx.analysis.figures import draw_figures
from natx.analysis.sparsity import check_temperature
from natx.analysis.subjects import Run, Subject, check_alike, class_number, model, subject, subject_names
from natx.analysis.summaries import (
    boundary_section,
    lowest_confidence,
    picture,
    plain,
    separation_section,
    series_by_view,
    sparsity_section,
    weight_section,
)
from natx.analysis.weights import EQ13
from natx.attacks import PGD, Attack
from natx.config import plain_dict
from natx.errors import ConfigError
from natx.judging.overwrite import keep_others
from natx.registry import THREATS
from natx.runtime.files import sha256
from natx.runtime.progress import Meter, silent
from natx.runtime.provenance import provenance
from natx.threat import Linf

WHAT = ("sparsity", "series", "boundaries", "weights", "umap")
OF_OUTPUTS = ("sparsity", "series")  # parts that need no linear class layer
DEFAULT_TEMPERATURE = 4.0  # the adversary's where no config names one: CIFAR-10's
STEPS = 20
SERIES = (
    "Eq. 8 expands -KL(target || adversary) in powers of the difference of the two outputs. The series converges for "
    "an image where the adversary gives every class at most twice the probability that the target gives it; elsewhere "
    "its terms grow without bound, and their mean over the images says nothing about the nasty term"
)
ONE_MODEL = "Eqs. 7 and 8 are of a target and an adversary: give the adversary's config and checkpoint too"
LARGEST = 128  # classes up to which matrices are written as numbers


def analyse(
    models: Sequence[tuple[Config, Path]],
    folder: Path,
    *,
    device: torch.device,
    what: Sequence[str] = WHAT,
    attack: Attack | None = None,
    data: str = "test",
    subset_size: int | None = None,
    batch_size: int = 250,
    temperatures: Sequence[float] | None = None,
    shown: str | None = None,
    names: Sequence[str] | None = None,
    adversary: str | None = None,
    seed: int = 0,
    meter: Meter | None = None,
    ema: bool = False,
) -> dict[str, Any]:
    """Analyse some checkpoints on the same images and draw the figures into ``folder``; the content of analysis.json.

    Args:
        models: training configs and checkpoints.
        folder: gets the figures.
        device: where to run.
        what: which of :data:`WHAT`.
        attack: makes the adversarial images, of each model its own; :func:`default_attack` by default.
        data: 'test' or 'train': the images of which part of the config's data.
        subset_size: only so many images, see :func:`natx.data.subset`.
        batch_size: images per step.
        temperatures: softmax temperatures; by default 1 and those of the configs' nasty terms (4 where none has one).
        shown: name or number of the class whose bars are drawn; the first by default.
        names: of the models in tables; by default the configs'.
        adversary: name of the model that the series of the nasty term takes for the adversary; the first by default.
        seed: of UMAP, and of the default attack.
        meter: progress display.
        ema: take the average of the weights that each checkpoint holds beside them.

    Raises:
        ConfigError: models of other classes or images, or settings that do not fit.
        CheckpointError: a checkpoint that does not load, or without the class layer.
    """
    configs = [config for config, _ in models]
    names = list(subject_names(configs) if names is None else names)
    _check_request(what, names, count=len(models), batch_size=batch_size)
    opponent = adversary_name(adversary, names)
    at = _temperatures(temperatures or nasty_temperatures(configs) or [DEFAULT_TEMPERATURE])
    attack = attack or default_attack(configs[0], seed=seed)
    run = Run(
        attack,
        device,
        linear=any(part not in OF_OUTPUTS for part in what),
        must=not any(part in OF_OUTPUTS for part in what),
        pixel_margins="boundaries" in what,
        data=data,
        shown=shown,
        subset_size=subset_size,
        batch_size=batch_size,
        meter=meter,
        ema=ema,
    )
    question = {"attack": attack.describe(), "data": data, "subset": subset_size}
    _keep_others(folder, [file for _, file in models], question)
    subjects = _subjects(dict(zip(names, models)), run, opponent=opponent if "series" in what else None)
    chosen = class_number(shown, subjects[0].classes)
    eps = attack.threat.eps if isinstance(attack.threat, Linf) else None
    sections = _sections(subjects, what, temperatures=at, eps=eps)
    missing = _pictures(subjects, sections, seed=seed, meter=meter or silent()) if "umap" in what else []
    figures = draw_figures(folder, subjects, sections, chosen=chosen)
    return {
        "what": list(what),
        "data": data,
        "subset": subset_size,
        "attack": attack.describe(),
        "temperatures": at,
        "classes": list(subjects[0].classes),
        "outputs": list(subjects[0].outputs),
        "shown": subjects[0].classes[chosen],
        "adversary": opponent if "series" in what else None,
        "models": [_plain_model(one, section) for one, section in zip(subjects, sections)],
        "figures": figures,
        "notes": _notes(subjects, what),
        "missing": missing,
        "provenance": provenance(device),
    }


def _check_request(what: Sequence[str], names: Sequence[str], *, count: int, batch_size: int) -> None:
    """Raise ConfigError for what is asked and cannot be answered."""
    unknown = sorted({*what} - {*WHAT})
    if unknown or not what:
        raise ConfigError(f"--what takes some of {', '.join(WHAT)}; got {', '.join(unknown) or 'nothing'}")
    if batch_size < 1:
        raise ConfigError(f"--batch-size must be at least 1; got {batch_size}")
    if not len({*names}) == len(names) == count:
        raise ConfigError(f"--names takes a different name for each of {count} models; got {', '.join(names)}")
    if [*what] == ["series"] and count == 1:
        raise ConfigError(ONE_MODEL)


def _temperatures(values: Sequence[float]) -> list[float]:
    """The temperatures in order, 1 among them; raises ConfigError for one that is not above 0."""
    return [1.0, *sorted(check_temperature(value) for value in {*values} - {1.0})]


def _subjects(models: Mapping[str, tuple[Config, Path]], run: Run, *, opponent: str | None) -> list[Subject]:
    """Every model run over the same images; the opponent is asked about the pixels of the others."""
    beside = None if opponent is None else model(*models[opponent], run)
    subjects: list[Subject] = []
    for name, (config, checkpoint) in models.items():
        run.adversary = None if name == opponent else beside
        subjects.append(subject(name, config, checkpoint, run))
        check_alike(subjects[0], subjects[-1])
    return subjects


def _plain_model(one: Subject, section: dict[str, Any]) -> dict[str, Any]:
    """A model's part of analysis.json."""
    numbers = plain(section, largest=LARGEST)
    return {"name": one.name, "settings": one.settings, "notes": one.collected.notes, **numbers}


def adversary_name(name: str | None, names: Sequence[str]) -> str | None:
    """The model that plays the adversary: by name, or the first; None where there is one model alone.

    Raises:
        ConfigError: a name that no model has.
    """
    if name is not None and name not in names:
        raise ConfigError(f"--adversary {name} is none of the models: give {', '.join(names)}")
    return (name or names[0]) if len(names) > 1 else None


def _keep_others(folder: Path, files: Sequence[Path], question: dict[str, Any]) -> None:
    """Raise ConfigError where a folder holds the analysis of other checkpoints, or of other images or attacks."""

    def stored(analysis: dict[str, Any]) -> dict[str, Any]:
        checkpoints = [model["settings"]["checkpoint_sha256"] for model in analysis["models"]]
        return {"checkpoints": checkpoints, **{key: analysis[key] for key in question if key in analysis}}

    present = [sha256(file) for file in files if file.is_file()]  # a missing one is told by name later
    keep_others(folder / "analysis.json", {"checkpoints": present, **question}, stored=stored, option="--work-dir")


def default_attack(config: Config, *, seed: int = 0) -> PGD:
    """PGD-20 on the cross-entropy within the config's threat model (Linf 8/255 where it has none), steps of eps/4."""
    threat = THREATS.build(plain_dict(config.get("threat") or {"type": "Linf", "eps": 8 / 255}))
    return PGD(threat, STEPS, step_size=threat.radius / 4, seed=seed)


def nasty_temperatures(configs: Sequence[Config]) -> list[float]:
    """Temperatures of the nasty terms in some configs' methods."""

    def walk(node: Any) -> Iterator[float]:
        if isinstance(node, dict):
            if node.get("type") == "NastyKL" and "temperature" in node:
                yield float(node["temperature"])
            node = list(node.values())
        if isinstance(node, (list, tuple)):
            for value in node:
                yield from walk(value)

    return sorted({value for config in configs for value in walk(plain_dict(config).get("method", {}))})


def _sections(
    subjects: Sequence[Subject], what: Sequence[str], *, temperatures: Sequence[float], eps: float | None
) -> list[dict[str, Any]]:
    """Each model's sections, with tensors."""
    count = len(subjects[0].classes)
    sections: list[dict[str, Any]] = [
        {
            "rows": {name: len(view.labels) for name, view in one.collected.views.items()},
            "accuracy": {name: 100 * float(view.correct.double().mean()) for name, view in one.collected.views.items()},
        }
        for one in subjects
    ]
    if "sparsity" in what:
        for name in subjects[0].collected.views:
            views = [one.collected.views[name] for one in subjects]
            wanted = lowest_confidence(views)
            for section, entries in zip(
                sections, sparsity_section(views, temperatures=temperatures, classes=count, wanted=wanted)
            ):
                section.setdefault("sparsity", {})[name] = entries
    for one, section in zip(subjects, sections):
        if "series" in what and (series := series_by_view(one.collected.views, temperatures=temperatures)):
            section["series"] = series
        if one.collected.weight is None:
            continue
        if "boundaries" in what:
            section["boundaries"] = {
                name: boundary_section(one.collected, view, classes=count, eps=eps if name == CLEAN else None)
                for name, view in one.collected.views.items()
            }
        if "weights" in what:
            section["weights"] = weight_section(one.collected.weight)
        if "umap" in what:
            section["separation"], section["features"] = separation_section(one.collected)
    return sections


def _pictures(subjects: Sequence[Subject], sections: list[dict[str, Any]], *, seed: int, meter: Meter) -> list[str]:
    """Add each model's UMAP positions; what could not be done, in one line each. Features are dropped."""
    missing: list[str] = []
    for one, section in zip(subjects, sections):
        features = section.pop("features", None)
        if features is None or missing:
            continue
        meter.begin(f"{one.name}, UMAP", 1)
        try:
            section["umap"] = {name: rows.tolist() for name, rows in picture(features, seed=seed).items()}
        except ConfigError as error:
            missing.append(str(error))
        meter.advance()
        meter.end()
    return missing


def _notes(subjects: Sequence[Subject], what: Sequence[str]) -> list[str]:
    """How the numbers are to be read."""
    notes = []
    if "sparsity" in what:
        notes.append(
            "Matched confidence: each model's temperature is set so that its mean confidence is that of the least "
            "confident model; a difference that is gone there was one of logit scale"
            if len(subjects) > 1
            else "Matched confidence needs several checkpoints: without it any growth of the logits reads as sparsity"
        )
    if "boundaries" in what:
        notes.append(
            "Eq. 10 is the distance to where one logit is zero, which is no decision boundary, and grows with the "
            "features' norm alone; the feature margin is the distance to the nearest decision boundary. The pixel "
            "margin is a first-order estimate: far above what attacks need means masked gradients, not robustness"
        )
    if "series" in what:
        notes.append(SERIES if len(subjects) > 1 else ONE_MODEL)
    notes += [EQ13] * ("weights" in what) + [FIT] * ("umap" in what)
    if subjects[0].outputs != subjects[0].classes:
        notes.append("Rows are boxes whose target is an object; background is a class of the output, not of the rows")
    if len(subjects[0].classes) > LARGEST:
        notes.append(f"Matrices of more than {LARGEST} classes are drawn and averaged, not written as numbers")
    return notes
