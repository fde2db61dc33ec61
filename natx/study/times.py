"""What a training took, from its logs."""

from __future__ import annotations

import json
import statistics
from contextlib import suppress
from pathlib import Path
from typing import Any

from natx.benchmark.training import step_units
from natx.config import with_options
from natx.errors import ConfigError
from natx.models.checkpoint import load_state
from natx.models.weights import DONE
from natx.runtime.files import read_json
from natx.study.rows import Row
from natx.study.trainings import method_of

RECIPES = "recipe_hours"  # the benchmark's item
BY_STEP = "a step's processor time, of all configs in one run (natx bench --only recipe_hours), times the steps"
PRECISION = "bfloat16"  # in which the benchmark measures all of them
NO_SCALARS = ("lr", "time", "data_time", "cpu_seconds")


def epoch_seconds(folder: Path) -> float | None:
    """Mean seconds that the steps of an epoch took, without choosing and saving the checkpoint.

    Args:
        folder: a training's work dir.

    Returns:
        The mean time of a step in the logs (``vis_data/scalars.json``) times the steps of an epoch; None where the
        training has not finished or wrote no logs.
    """
    if not (folder / DONE).exists() or not (folder / "last.pth").exists():
        return None
    times = [record["time"] for record in _steps(folder)]
    meta = load_state(folder / "last.pth")["meta"]
    return statistics.fmean(times) * meta["iter"] / meta["epoch"] if times else None


def spent(folder: Path, *, batch_size: int) -> dict[str, Any] | None:
    """What a finished training took, from its logs; None where it wrote none.

    Args:
        folder: a training's work dir.
        batch_size: images of a step and process.

    Returns:
        ``epochs``, ``images`` (that went through a step, over all epochs and processes), ``minutes`` of the steps alone
        and their ``clock`` (the processor's where all steps logged it, of all processes together, each taken for as
        busy as the first), and in ``last_epoch`` the mean of each logged scalar over the last epoch that was logged.
    """
    if not (folder / DONE).exists() or not (folder / "last.pth").exists():
        return None
    records = _steps(folder)
    if not records:
        return None
    meta = load_state(folder / "last.pth")["meta"]
    processes = meta.get("world_size", 1)
    last = [record for record in records if record["epoch"] == max(record["epoch"] for record in records)]
    names = [name for name, value in last[-1].items() if isinstance(value, float) and name not in NO_SCALARS]
    processor = all("cpu_seconds" in record for record in records)
    seconds = statistics.fmean(record["cpu_seconds" if processor else "time"] for record in records)
    return {
        "epochs": meta["epoch"],
        "images": meta["iter"] * batch_size * processes,
        "minutes": seconds * meta["iter"] * (processes if processor else 1) / 60,
        "clock": "processor time" if processor else "wall time",
        "last_epoch": {name: statistics.fmean(record[name] for record in last if name in record) for name in names},
    }


def step_times(path: Path | None) -> dict[str, dict[str, Any]]:
    """What the benchmark says of each config, by its name; empty where it has not been run.

    Args:
        path: a results file of ``natx bench``; None for none.

    Raises:
        ConfigError: a file of another kind.
    """
    if path is None or not path.exists():
        return {}
    try:
        items = read_json(path)["items"]
        recipes = (item["details"]["recipes"] for item in items if item["name"] == RECIPES)
        return {recipe["config"]: recipe for recipe in next(recipes, [])}
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"step_times: {path} is no results file of natx bench: name one, or leave it out") from error


def recipe_of(row: Row, times: dict[str, dict[str, Any]], *, options: dict[str, Any] | None) -> dict[str, Any] | None:
    """The benchmark's line whose step is that of a row's training; None where it has none.

    It measures the configs as they are, in bfloat16: a step of another network, on a batch of another size, of a method
    that spends more or less on an image, or in another precision is another.

    Args:
        row: a row of a study.
        times: see :func:`step_times`.
        options: overrides of every training config.
    """
    recipe = times.get(Path(row.config or "").stem)
    if recipe is None:
        return None
    plain, trained = row.load(), with_options(row.load(), {**row.options, **(options or {})})
    if plain.task != trained.task or trained.get("amp") != PRECISION or recipe["batch"] != trained.data.batch_size:
        return None
    if plain.method != trained.method and step_units(method_of(plain)) != step_units(method_of(trained)):
        return None
    return recipe


def timed_by_step(report: dict[str, Any], recipe: dict[str, Any] | None) -> dict[str, Any]:
    """A report whose training's minutes are its steps times the benchmark's seconds of one.

    Trainings that ran beside other work, or at other times, have clocks that do not compare; steps measured one after
    the other do.

    Args:
        report: of a row's training, not changed.
        recipe: the training config's line of the benchmark; without one the report stays as it is.
    """
    training = report.get("training")
    if recipe is None or not training:
        return report
    minutes = training["images"] / recipe["batch"] * recipe["step, s"] / 60
    return {**report, "training": {**training, "minutes": minutes, "clock": BY_STEP}}


def _steps(folder: Path) -> list[dict[str, Any]]:
    """What a training logged of its steps; those that a stopped run took again count once, as they were taken last."""
    timed = [record for record in _records(folder) if "time" in record]  # others are scores of held-out images
    return list({record["iter"]: record for record in timed}.values())


def _records(folder: Path) -> list[dict[str, Any]]:
    """What a training logged; a line that a full disk or a lost machine left unfinished is passed over."""
    records = []
    for path in sorted(folder.glob("*/vis_data/scalars.json")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            with suppress(ValueError):
                records.append(json.loads(line))
    return records


def epoch_report(folder: Path, column: str) -> dict[str, Any] | None:
    """What a report of attacks is to other studies, with the seconds of an epoch as its only value.

    Args:
        folder: a training's work dir.
        column: the value's name.

    Returns:
        The report; None where there is nothing to read, see :func:`epoch_seconds`.
    """
    seconds = epoch_seconds(folder)
    if seconds is None:
        return None
    provenance = read_json(folder / DONE)["provenance"]
    return {
        "cell": [column],
        "columns": [{"name": column, "values": {column: seconds}}],
        "attacks": [],
        "notes": [f"timed on {provenance['device']}, {provenance['threads']} thread(s)"],
        "provenance": provenance,
    }
