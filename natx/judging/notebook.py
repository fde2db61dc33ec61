"""Judging and attacking any torch module on images at hand, without a config."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from numbers import Integral
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from natx.attacks import Attack
from natx.attacks.base import Success
from natx.attacks.named import build_named, build_threat, listed
from natx.batch import to_device
from natx.checks import AuditOptions, Verdict
from natx.checks import audit as run_audit
from natx.data.base import InMemory
from natx.data.classes import align_classes
from natx.data.gather import gather
from natx.errors import ConfigError, DataError
from natx.evaluation import CLEAN, Evaluation
from natx.evaluation import evaluate as run_evaluation
from natx.evaluation.applicable import OnUnsupported, applied
from natx.judging.kept import Kept
from natx.judging.results import Curve, Result
from natx.judging.undefended import undefended
from natx.models.load import load
from natx.models.normalisation import normalisation_remarks
from natx.models.wrap import ModuleTask, answer_remarks, class_names, on_device, wrap
from natx.runtime.device import pick_device
from natx.runtime.progress import Meter, notebook_meter
from natx.task import unit_pixels
from natx.threat import Linf, ThreatModel

DEFAULT = ("PGD-20", "C&W", "AutoAttack")
RADIUS = "eps is a number such as 8 / 255, or several for a curve"
PROBABILITIES = (
    "the outputs look like probabilities (no value below 0, each row sums to 1): softmax hides gradients from attacks, "
    "so accuracies may be too high; give the model without its softmax"
)


def evaluate(
    model: nn.Module | str | Path,
    images: Tensor | np.ndarray | DataLoader | Dataset,
    labels: Tensor | np.ndarray | Sequence[int] | None = None,
    *,
    classes: Sequence[str] | None = None,
    attacks: Sequence[str | dict[str, Any] | Attack] | str | dict[str, Any] | Attack = DEFAULT,
    eps: float | Sequence[float] | np.ndarray | Tensor | None = None,
    threat: ThreatModel | dict[str, Any] | None = None,
    success: Success = "any",
    batch_size: int = 250,
    device: torch.device | str | None = None,
    seed: int = 0,
    name: str = "model",
    on_unsupported: OnUnsupported = "refuse",
    logits: str | int | None = None,
    mean: Sequence[float] | float | None = None,
    std: Sequence[float] | float | None = None,
    meter: Meter | None = None,
    progress: str | Path | None = None,
    audit: bool = False,
    audit_images: int | None = None,
    vanilla: nn.Module | str | Path | None = None,
) -> Result | Curve:
    """Judge a classifier under attacks, in eval mode and fp32, as ``natx test`` does.

    The model's modes, gradient flags, device and precision are the same before and after, also when interrupted.

    Args:
        model: maps pixels in [0,1] to logits ``[N, classes]``, with its normalisation inside or told by ``mean`` and
            ``std``; or what :func:`natx.load` takes.
        images: ``[N, C, H, W]``, floats in [0,1] or uint8; or, without ``labels``, a loader or a data set, see
            :func:`natx.data.gather.gather`.
        labels: classes ``[N]``.
        classes: names of the classes that the labels number; a data set has its own. Where the model has names too
            (``model.classes``, as :func:`natx.load` sets them), labels are matched by name; labels without names are
            numbered as the model's classes are.
        attacks: names, configs or attacks; see :func:`natx.attacks.named.build_named`. One pass over all of them;
            'AutoAttack' is the standard version.
        eps: radius of the Linf ball in pixel units of [0,1], such as 8/255; several give a curve, of attacks without a
            threat model of their own.
        threat: another threat model instead, such as ``L2(0.5)``.
        success: 'any' counts an image broken at any step as broken, 'last' looks at the last step only.
        batch_size: images per step for attacks whose result does not depend on it.
        device: where to run; where the model is by default.
        seed: seed of attacks given by name or config.
        name: the row's name in the table.
        on_unsupported: 'refuse' where one of the attacks cannot attack the model (AutoAttack with three classes), or
            'skip' it and say so.
        logits: which part of the model's output the logits are, where it returns a tuple or a dict: a key or a place;
            the ``logits`` of Hugging Face's outputs are found.
        mean: a value a channel, or one for all, for a model that takes normalised images. Without, a network that names
            them itself (timm's ``pretrained_cfg``) and sees plain pixels is judged with a warning and a note; 0 and
            ``std`` 1 say that plain pixels are right.
        std: likewise.
        meter: progress display; a bar on a terminal and in a notebook by default.
        progress: folder that keeps what is finished, in which the same call goes on where one was killed; the same
            means model, images and attacks by content (:mod:`natx.judging.kept`), and other calls may share the folder.
            Attacks are names or configs then. By default nothing is kept.
        audit: also run the reliability checks (:func:`natx.checks.audit`), as ``natx test --audit`` does; the result's
            ``audit`` and its tables have their verdicts.
        audit_images: how many images they attack again, 200 by default.
        vanilla: an undefended model of the same classes, which the attacks must break (G5): a module, ``model`` itself
            where that is undefended, or what :func:`natx.load` takes. ``logits``, ``mean`` and ``std`` count for a
            module too.

    Returns:
        The result; for several radii the curve of them.

    Raises:
        DataError: pixels outside [0,1], images, labels or outputs of the wrong shape, labels that are no classes, names
            of classes that the model does not have.
        ConfigError: no threat model, an unknown attack, or settings that do not fit.
    """
    if eps is not None and threat is not None:
        raise ConfigError("give eps (Linf) or threat, not both")
    _check_batch(batch_size)
    checks = _audit_options(audit, audit_images, vanilla)
    if isinstance(model, (str, Path)):
        model = load(model, device=device)
    if isinstance(vanilla, (str, Path)):
        vanilla = load(vanilla, device=device)
    if not isinstance(vanilla, (nn.Module, NoneType)):
        raise DataError(f"vanilla is {type(vanilla).__name__}, expected a torch.nn.Module")
    settings: dict[str, Any] = dict(classes=classes, attacks=listed(attacks), success=success, batch_size=batch_size)
    settings |= dict(device=device, seed=seed, name=name, logits=logits, mean=mean, std=std)
    settings |= dict(on_unsupported=on_unsupported, meter=meter or notebook_meter(), checks=checks, vanilla=vanilla)
    settings["kept"] = kept = Kept(progress)
    radii = _radii(eps)
    if isinstance(radii, list):
        if fixed := [entry for entry in settings["attacks"] if _has_threat(entry)]:
            name = fixed[0].name if isinstance(fixed[0], Attack) else fixed[0].get("name", fixed[0].get("type"))
            raise ConfigError(
                f"{name} has a threat model of its own, which is the same at every eps of a curve: name the attack, or "
                "give its config without threat"
            )
        pixels, targets, names = gather(images, labels)
        settings["classes"] = names if classes is None else classes
        curve = Curve({radius: _evaluate(model, pixels, targets, threat=Linf(radius), **settings) for radius in radii})
        kept.clear()
        return curve
    result = _evaluate(model, images, labels, threat=Linf(radii) if radii is not None else threat, **settings)
    kept.clear()
    return result


def _check_batch(size: int) -> None:
    if not isinstance(size, Integral) or size < 1:  # numpy's too
        raise ConfigError(f"batch_size is a whole number from 1; got {size!r}")


def _audit_options(wanted: bool, images: int | None, vanilla: Any) -> AuditOptions | None:
    """What the audit is told; None where none is wanted."""
    if wanted:
        return AuditOptions() if images is None else AuditOptions(images=images)
    if images is not None or vanilla is not None:
        raise ConfigError("vanilla and audit_images are for the audit: add audit=True")
    return None


def _has_threat(entry: Any) -> bool:
    """Whether an attack, or its config, brings its own threat model."""
    return isinstance(entry, Attack) or (isinstance(entry, dict) and entry.get("threat") is not None)


def _radii(eps: Any) -> float | list[float] | None:
    """A radius, several from the smallest on, or None; raises ConfigError for what is no number."""
    if isinstance(eps, (str, bytes)):  # whose letters are numbers, too
        raise ConfigError(f"{RADIUS}; got {eps!r}")
    values = eps.tolist() if isinstance(eps, (np.ndarray, np.generic, Tensor)) else eps
    try:
        if values is None or isinstance(values, (int, float)):
            return values
        radii = sorted(map(float, values))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{RADIUS}; got {eps!r}") from error
    if not radii:
        raise ConfigError("eps is empty: give a radius, or several for a curve")
    return radii


def _evaluate(
    model: nn.Module,
    images: Any,
    labels: Any,
    *,
    classes: Sequence[str] | None,
    attacks: Any,
    threat: ThreatModel | dict[str, Any] | None,
    success: Success,
    batch_size: int,
    device: torch.device | str | None,
    seed: int,
    name: str,
    on_unsupported: OnUnsupported,
    logits: str | int | None,
    mean: Sequence[float] | float | None,
    std: Sequence[float] | float | None,
    meter: Meter,
    kept: Kept,
    checks: AuditOptions | None,
    vanilla: nn.Module | None,
) -> Result:
    """:func:`evaluate` at one radius."""
    threat = build_threat(threat)
    built = build_named(attacks, threat=threat, seed=seed)
    dataset, notes = _data(model, images, labels, classes=classes)
    device = None if device is None else pick_device(device)
    first = dataset.images[:batch_size]
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))  # a caller's would leave attacks no gradients
        stack.enter_context(on_device(model, device))
        task, answer, precision = wrap(model, first, device=device, logits=logits, mean=mean, std=std)
        _check_labels(task, dataset.labels)
        beside = undefended(vanilla, task, dataset, model=model, batch_size=batch_size)
        other, remarks = stack.enter_context(beside)  # one that cannot be asked is refused before the attacks
        remarks = [*_remarks(task, first, answer), *remarks]
        for remark in remarks:
            warnings.warn(remark, stacklevel=2)
        notes += [*precision, *remarks]
        settings: dict[str, Any] = dict(batch_size=batch_size, success=success, on_unsupported=on_unsupported)
        progress = kept.progress(
            task,
            answer,
            dataset=dataset,
            attacks=attacks,
            built=built,
            settings={**settings, "device": task.anchor.device.type},
        )
        evaluation = run_evaluation(task, dataset, built, **settings, progress=progress, meter=meter)
        attacked = applied(built, evaluation.not_applicable)
        told: dict[str, Any] = dict(evaluation=evaluation, vanilla=other, batch_size=batch_size, meter=meter)
        verdicts = {} if checks is None else _audited(checks, task, dataset, attacks=attacked, **told)
    notes += [f"{column} is not applicable: {reason}" for column, reason in evaluation.not_applicable.items()]
    notes += [note for note in _attack_notes(evaluation) if note not in notes]
    threats = ", ".join(dict.fromkeys(str(attack.threat) for attack in built))
    return Result(evaluation, threats, name, notes, verdicts)


def _attack_notes(evaluation: Evaluation) -> list[str]:
    """What the attacks met, each once and with the columns that it is of, as :mod:`natx.cli.test` prints it."""
    told: dict[str, list[str]] = {}
    for attack in evaluation.attacks:
        for note in dict.fromkeys(attack.notes):
            told.setdefault(note, []).extend(attack.columns)
    return [
        note if columns == [CLEAN] or note.startswith(f"{columns[0]}:") else f"{', '.join(columns)}: {note}"
        for note, columns in told.items()
    ]


def _audited(checks: AuditOptions, task: ModuleTask, dataset: InMemory, **settings: Any) -> dict[str, Verdict]:
    """The verdicts of an audit by their ids; other settings are those of :func:`natx.checks.audit`."""
    verdicts = run_audit(task, dataset, images=checks.images, draws=checks.draws, **settings)
    return {verdict.id: verdict for verdict in verdicts}


def _remarks(task: ModuleTask, images: Tensor, answer: Tensor) -> list[str]:
    """What to know of a module before its numbers are believed: of its input, its output and what that hangs on."""
    return [
        *normalisation_remarks(task, images),
        *([PROBABILITIES] if _probabilities(answer) else []),
        *answer_remarks(task, images, answer),
    ]


def _check_labels(task: ModuleTask, labels: Tensor) -> None:
    """Raise DataError for labels that are no classes of the model."""
    if int(labels.max()) >= task.num_classes:
        raise DataError(f"labels go up to {int(labels.max())}, the model has {task.num_classes} classes (0 first)")


def _data(model: nn.Module, images: Any, labels: Any, *, classes: Sequence[str] | None) -> tuple[InMemory, list[str]]:
    """The images with labels as the model numbers its classes, and remarks on what was changed."""
    images, labels, names = gather(images, labels)
    classes = names if classes is None else classes
    images, labels = _checked(model, images, labels)
    if classes is None:  # as the model numbers them: numbers are no names
        return InMemory(images, labels, classes=[str(i) for i in range(int(labels.max()) + 1)]), []
    if int(labels.max()) >= len(classes):
        raise DataError(f"labels go up to {int(labels.max())}, and classes names {len(classes)} (0 first)")
    return align_classes(InMemory(images, labels, classes=classes), class_names(model))


def _checked(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Images and labels, labels on the CPU; raises DataError where they cannot be what they should."""
    if not isinstance(model, nn.Module):
        raise DataError(f"model is {type(model).__name__}, expected a torch.nn.Module")
    if images.dim() != 4 or len(images) == 0:
        raise DataError(f"images are {list(images.shape)}, expected [N, channels, height, width] with N >= 1")
    if not (images.is_floating_point() or images.dtype == torch.uint8):
        raise DataError(f"images are {images.dtype}, expected floats in [0,1] or uint8")
    if images.shape[-1] in (1, 3) and images.shape[1] not in (1, 3):
        raise DataError(
            f"images are {list(images.shape)}: the channels come second; use "
            "images.permute(0, 3, 1, 2), or transpose(0, 3, 1, 2) of an array"
        )
    if labels.shape != images.shape[:1] or labels.is_floating_point() or labels.dtype == torch.bool:
        raise DataError(f"labels are {labels.dtype} {list(labels.shape)}, expected integers [{len(images)}]")
    labels = labels.cpu().to(torch.int64)
    if int(labels.min()) < 0:
        raise DataError(f"labels are classes from 0 on; got {int(labels.min())}")
    if images.is_floating_point():
        unit_pixels(images, images.dtype)
    return images, labels


def attack(
    model: nn.Module | str | Path,
    images: Tensor | np.ndarray | DataLoader | Dataset,
    labels: Tensor | np.ndarray | Sequence[int] | None = None,
    attack: str | dict[str, Any] | Attack = "PGD-20",
    *,
    eps: float | None = None,
    threat: ThreatModel | dict[str, Any] | None = None,
    batch_size: int = 250,
    device: torch.device | str | None = None,
    seed: int = 0,
    logits: str | int | None = None,
    mean: Sequence[float] | float | None = None,
    std: Sequence[float] | float | None = None,
) -> Tensor:
    """Attacked images: ``natx.attack(model, x, y, "PGD-20", eps=8 / 255)``.

    As when judging, an image that the attack broke at some step is given as it was at the first such step, and labels
    of a data set that numbers its classes otherwise than the model are matched by name, with a warning.

    Args:
        model: as in :func:`evaluate`.
        images: as in :func:`evaluate`.
        labels: classes ``[N]``; none for a loader or a data set.
        attack: a name, a config or an attack; see :func:`natx.attacks.named.build_named`.
        eps: radius of the Linf ball; none for an attack with a threat model of its own.
        threat: another threat model instead; likewise.
        batch_size: images per step.
        device: where to run; where the model is by default.
        seed: of an attack given by name or config.
        logits: as in :func:`evaluate`.
        mean: likewise.
        std: likewise.

    Returns:
        Pixels in [0,1] ``[N, C, H, W]`` on the device of ``images``, within the threat model.

    Raises:
        DataError, ConfigError: as :func:`evaluate`.
    """
    if eps is not None and threat is not None:
        raise ConfigError("give eps (Linf) or threat, not both")
    _check_batch(batch_size)
    if isinstance(model, (str, Path)):
        model = load(model, device=device)
    radius = _radii(eps)
    if isinstance(radius, list) or isinstance(attack, (list, tuple)):
        raise ConfigError("natx.attack makes images with one attack at one eps: call it once for each")
    within = Linf(radius) if radius is not None else build_threat(threat)
    (built,) = build_named(attack, threat=within, seed=seed)
    if within not in (None, built.threat):
        raise ConfigError(f"{built.name} attacks within {built.threat}, its own threat model: leave out {within}")
    dataset, notes = _data(model, images, labels, classes=None)
    for note in notes:
        warnings.warn(note, stacklevel=2)
    pixels, targets = dataset.images, dataset.labels
    device, attacked = None if device is None else pick_device(device), []
    with torch.inference_mode(False), on_device(model, device):
        task, _, _ = wrap(model, pixels[:batch_size], device=device, logits=logits, mean=mean, std=std)
        _check_labels(task, targets)
        for remark in normalisation_remarks(task, pixels):
            warnings.warn(remark, stacklevel=2)
        for index in torch.arange(len(pixels)).split(built.block_size or batch_size):
            batch = {"inputs": pixels[index.to(pixels.device)], "data_samples": targets[index], "index": index}
            attacked.append(built.judge(task, to_device(batch, task.anchor.device)).x_adv.to(pixels.device))
    return torch.cat(attacked)


def _probabilities(logits: Tensor) -> bool:
    """Whether rows are distributions: logits are only by chance, all at once never."""
    return bool((logits >= 0).all() and ((logits.sum(1) - 1).abs() < 1e-3).all())
