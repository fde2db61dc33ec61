"""What tells one judgement from another: its training, its images, and all that decides its outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from natx.attacks import Attack
from natx.config import VOLATILE_DATA, fingerprint, frozen_models, plain_dict
from natx.evaluation.progress import by_content
from natx.judging.build import attack_dicts
from natx.runtime.provenance import package_versions
from natx.task import Task
from natx.threat import ThreatModel
from natx.training.fingerprints import part_fingerprints
from natx.training.leak import leak_remarks


def training_identity(config: Config) -> str:
    """Fingerprint of a training config without its seed, and without the weights that its seed gave to adversaries."""
    copy = Config({**plain_dict(config), "seed": 0})
    for entry in frozen_models(copy):
        if "config" in entry or "task" in entry:
            entry.pop("checkpoint", None)
    return fingerprint(copy)


def other_training(config: Config, meta: dict[str, Any]) -> list[str]:
    """A note where a checkpoint says that another training than the config's made it."""
    here = part_fingerprints(config)
    differing = [part for part, trained in meta.get("recipe", {}).items() if here.get(part) != trained]
    if not differing:
        return []
    name = Path(config.filename or "this config").name
    return [f"the checkpoint was trained with other settings of {', '.join(differing)} than {name} has now"]


def checkpoint_remarks(
    config: Config, meta: dict[str, Any], task: Task, *, threats: Sequence[ThreatModel], dataset: Any
) -> list[str]:
    """Notes where a checkpoint was made otherwise than it is used now.

    Args:
        config: that it is used with.
        meta: what :func:`natx.models.checkpoint.load_weights` returned for it.
        task: the model with its weights.
        threats: see :func:`other_conditions`.
        dataset: see :func:`other_conditions`.
    """
    kinds = " and ".join(meta.get("half", ()))
    return [
        *([f"the checkpoint holds its weights in {kinds}: judged as a float32 copy"] if kinds else []),
        *other_training(config, meta),
        *leak_remarks(meta),
        *other_normalisation(task, meta),
        *other_conditions(meta, threats, dataset),
    ]


def other_conditions(meta: dict[str, Any], threats: Sequence[ThreatModel], dataset: Any) -> list[str]:
    """Notes where a model is judged under other threat models, or on images of another size, than it was trained with.

    Args:
        meta: the checkpoint's; what it does not say is not compared.
        threats: those of the attacks.
        dataset: the images.
    """
    notes, judged = [], list(dict.fromkeys(map(str, threats)))
    if (trained := meta.get("threat")) is not None and judged and trained not in judged:
        notes.append(f"the model was trained under {trained} and is judged under {', '.join(judged)}")
    if (size := meta.get("input_size")) is not None:
        shown = list(dataset.__getitems__([0])["inputs"].shape[1:])
        if list(size) != shown:
            notes.append(
                f"the model was trained on images of {_size_text(size)} and is judged on images of {_size_text(shown)}"
            )
    return notes


def _size_text(size: Sequence[int]) -> str:
    channels, height, width = size
    return f"{height} x {width} ({channels} channel{'s' if channels > 1 else ''})"


def normalisation_text(task: Task) -> str:
    """With which mean and standard deviation a task normalises pixels of [0,1], in words."""
    values = task.normalisation
    if values is None:
        return "inside the model, if any"
    return "; ".join(f"{name} {', '.join(f'{value:g}' for value in values[name])}" for name in ("mean", "std"))


def other_normalisation(task: Task, meta: dict[str, Any]) -> list[str]:
    """A note where a checkpoint, or the ``config.json`` beside it, names another mean and std than are used."""
    stored, current = meta.get("normalisation"), task.normalisation
    if stored is None or current is None or all(np.allclose(stored[key], current[key], atol=1e-5) for key in current):
        return []
    return [
        f"the config's own mean and std ({normalisation_text(task)}) are used, not those that come with the weights "
        f"(mean {stored['mean']}, std {stored['std']}): leave task.mean and task.std out to take those"
    ]


def chosen_images(whole: Any, count: int | None) -> str:
    """Which images a subset has, in words; see :func:`natx.data.subset`."""
    attacked = getattr(whole, "attacked", None)
    if attacked is not None:
        return f"{'all' if count is None else f'{count} evenly spaced of the'} {len(attacked)} query images"
    if count is None or count == len(whole):
        return f"all {len(whole)} of {len(whole)} test images"
    chosen = f"{count} evenly spaced" if getattr(whole, "sorted_by_class", False) else f"the first {count}"
    return f"{chosen} of {len(whole)} test images"


def are_first(data: str) -> bool:
    """Whether a report's ``data`` says, in the words of :func:`chosen_images`, that its images are the first ones."""
    return data.rpartition(", ")[2].startswith(("all ", "the first ")) and data.endswith("test images")


def decisive(config: Config, attacks: Config, built: Sequence[Attack], settings: dict[str, Any]) -> dict[str, Any]:
    """Plain values that decide the outcomes of an evaluation, for :class:`natx.evaluation.progress.Progress`.

    Args:
        config: the training config.
        attacks: the attack config.
        built: its attacks.
        settings: the report's.
    """
    names = ("checkpoint_sha256", "weights", "normalisation", "data_fingerprint", "data", "batch_size", "precision")
    # What each attack says of itself holds the defaults and seeds, its config what it does not say.
    described = [{**attack.describe(), **entry} for attack, entry in zip(built, attack_dicts(attacks))]
    test = plain_dict(config.data.test)
    return {
        **{name: settings[name] for name in names},
        "seeds": [attack.seed for attack in built],
        "threat": [str(attack.threat) for attack in built],
        "attacks": by_content(described),
        "task": by_content(plain_dict(config.task)),
        "test": by_content({key: value for key, value in test.items() if key not in VOLATILE_DATA}),
        "packages": package_versions(),
    }
