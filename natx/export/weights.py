"""A checkpoint for other programs: weights under the upstream library's keys, a config.json and a model card."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from natx.config import EXPORTED, check, plain_dict, short_name
from natx.errors import ConfigError
from natx.export.card import Facts, card, portable
from natx.judging.build import load_task
from natx.judging.identity import normalisation_text, other_training
from natx.models.checkpoint import save_tensors, save_weights
from natx.models.hub import DESCRIPTIONS, FOLDER, HUB, WEIGHTS
from natx.models.weights import FORMAT, SOURCES, weights_path
from natx.runtime.files import sha256, write_json, write_text
from natx.runtime.progress import say
from natx.task import Task
from natx.training.leak import LEARNED_TESTS

# What an exported file keeps of the checkpoint's own description; the rest may name paths of the machine it ran on.
KEPT = (
    *("epoch", "seed", "selected_on", "fingerprint", "recipe", "ema", "holds", "input_size", "threat"),
    LEARNED_TESTS,
)


def export(
    config: Config,
    checkpoint: str | Path,
    out: Path,
    *,
    ema: bool = False,
    repository: str | None = None,
    licence: str | None = None,
) -> list[Path]:
    """Write ``model.safetensors``, ``config.json`` and ``README.md`` of a classifier; returns their paths.

    ``model.safetensors`` loads under upstream keys (in plain timm for a timm model) and with ``natx.load``.
    ``config.json`` has timm's layout: ``architecture``, ``num_classes``, ``label_names`` where they are known,
    ``model_args``, and mean, std and input size under ``pretrained_cfg``. A network of transformers becomes a folder of
    transformers, with ``preprocessor_config.json``. Numbers in the card come from the
    ``report.json`` of these very weights, if there are any beside the checkpoint.

    Args:
        config: the training config of the checkpoint.
        checkpoint: a run's weights, or upstream weights; see :func:`natx.models.weights.weights_path`.
        out: the folder to write to.
        ema: take the average of the weights that the checkpoint holds beside them.
        repository: ``owner/name`` on the Hugging Face hub, where the card says that the model lies.
        licence: of the weights, for the card.

    Raises:
        ConfigError: a task other than classification.
        CheckpointError: see :func:`natx.models.checkpoint.load_weights`.
    """
    check(config, EXPORTED)
    checkpoint = weights_path(checkpoint)
    task, meta = load_task(config, checkpoint, ema=ema)
    if not task.per_image_success or task.normalisation is None:
        raise ConfigError(f"{type(task).__name__} cannot be exported: natx export is for image classification")
    settings, theirs = portable_settings(task, plain_dict(config.task)), task.library_folder()
    source, remarks = meta["weights"], other_training(config, meta) if config.get("method") else []
    for remark in remarks:
        say(f"note: {remark}: give the training's --cfg-options, or the card will not say how it was trained")
    meta = {
        **{key: meta[key] for key in KEPT if key in meta},
        # Where a library reads the network from its own description, natx.load does too.
        **({} if theirs else {"task": json.loads(json.dumps(settings, default=str))}),
        "classes": list(task.classes or ()),
        "normalisation": task.normalisation,
    }
    described = describe(task, settings, input_size=meta.get("input_size"))
    facts = Facts(
        described,
        library=type(task.upstream).__module__.partition(".")[0] if theirs or upstream_name(task) else None,
        config=plain_dict(config),
        meta=meta,
        checkpoint_sha256=sha256(checkpoint),
        reports=(reports := reports_of(checkpoint, weights=source, normalisation=normalisation_text(task))),
        commands=commands_of(config, meta, reports, trained_so=not remarks),
        remarks=remarks,
        repository=repository,
        licence=licence,
    )
    descriptions = {name: content for name, content in theirs.items() if name != WEIGHTS[0]}
    descriptions = descriptions or {DESCRIPTIONS[0]: described}
    weights, page = out / WEIGHTS[0], out / "README.md"
    files = [weights, *(out / name for name in descriptions), page]
    ours = page.is_file() and facts.checkpoint_sha256 in page.read_text(encoding="utf-8", errors="replace")
    if not ours and (others := [file.name for file in files if file.exists()]):
        raise ConfigError(f"{out} holds another {' and '.join(others)}: name another --out, or remove it")
    if theirs:
        header = {"format": "pt", "natx": json.dumps({"format": FORMAT, **meta})}  # transformers asks for the first
        save_tensors(weights, theirs[WEIGHTS[0]], header=header)
    else:
        save_weights(weights, task, meta=meta)
    for name, content in descriptions.items():
        write_json(out / name, content)
    write_text(page, card(facts))
    return files


def portable_settings(task: Task, settings: dict[str, Any]) -> dict[str, Any]:
    """A task's settings without its sources of weights, and with a network's own name in place of where it lay."""
    kept = {key: value for key, value in settings.items() if key not in SOURCES}
    if str(kept.get("model")).startswith((FOLDER, HUB)):
        kept["model"] = upstream_name(task) or type(task.upstream).__name__
        built_with = (getattr(task.upstream, "pretrained_cfg", None) or {}).get("model_args") or {}
        kept["model_args"] = {**built_with, **(kept.get("model_args") or {})}
    return kept


def commands_of(
    config: Config, meta: dict[str, Any], reports: list[dict[str, Any]], *, trained_so: bool = True
) -> list[str]:
    """What to type to train a checkpoint by its config, where it was trained so, and what was typed for its reports."""
    seed = meta.get("seed", config.get("seed"))
    other = f" --seed {seed}" if seed != config.get("seed") else ""
    known = trained_so and config.filename and config.get("method")
    training = [f"natx train {short_name(config.filename)}{other}"] if known else []
    return [*training, *(portable(r["provenance"]["command"]) for r in reports if "command" in r.get("provenance", {}))]


def upstream_name(task: Task) -> str | None:
    """The name under which timm itself builds the task's network; None where natx changes it or has its own."""
    described = getattr(task.upstream, "pretrained_cfg", None) or {}
    ours = not type(task.upstream).__module__.startswith("timm.")
    return None if ours or not isinstance(described, dict) else described.get("architecture")


def describe(task: Task, settings: dict[str, Any], *, input_size: Sequence[int] | None = None) -> dict[str, Any]:
    """The content of config.json, in the layout that timm reads.

    Args:
        task: a classification task with ``normalisation`` and ``input_size``.
        settings: the task's settings in its config.
        input_size: channels, height and width of the images that it learned from; the architecture's usual ones where
            a checkpoint does not name them.
    """
    arguments = dict(settings.get("model_args") or {})
    if getattr(task, "fixed_size", False) and settings.get("image_size"):
        arguments.setdefault("img_size", settings["image_size"])
    if (size := input_size or task.input_size) is None:
        raise ConfigError("neither the checkpoint nor the architecture says how large its images are")
    model = settings.get("model")
    return {
        "architecture": upstream_name(task) or (model.get("type") if isinstance(model, dict) else model),
        "num_classes": task.num_classes,
        **({"label_names": list(task.classes)} if task.classes else {}),
        **({"model_args": arguments} if arguments else {}),
        "pretrained_cfg": {
            "input_size": list(size),
            "fixed_input_size": bool(getattr(task, "fixed_size", False)),
            **{name: [round(value, 6) for value in values] for name, values in (task.normalisation or {}).items()},
            "num_classes": task.num_classes,
        },
    }


def reports_of(checkpoint: Path, *, weights: str, normalisation: str) -> list[dict[str, Any]]:
    """Contents of every report.json beside a checkpoint that is about exactly these weights; others are told.

    Args:
        checkpoint: the file.
        weights: which of its weights, in the words of :func:`natx.models.checkpoint.load_weights`: a file may hold an
            average beside them.
        normalisation: of the pixels before them, see :func:`natx.judging.identity.normalisation_text`.
    """
    digest, reports = sha256(checkpoint), []
    for path in sorted([*checkpoint.parent.glob("report.json"), *checkpoint.parent.glob("*/report.json")]):
        try:
            report = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path} is no readable report ({error}): remove it or judge again") from error
        settings = report.get("settings", {}) if isinstance(report, dict) else {}
        if settings.get("checkpoint_sha256") != digest:
            continue
        exported = {"weights": weights, "normalisation": normalisation}
        other = [f"{key} {settings[key]}" for key, value in exported.items() if settings.get(key, value) != value]
        if other:
            say(f"note: {path} is left out of the card, it judged {' and '.join(other)}")
        else:
            reports.append(report)
    return reports
