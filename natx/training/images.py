"""The images of a training: those it learns from, those that choose its best epoch, and in which order they come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import get_dist_info
from rich.console import Console
from torch.utils.data import DataLoader

from natx.attacks import build_attack
from natx.config import plain_dict, seeded
from natx.config.schema.built import Built
from natx.data import build_dataset, hold_out, train_loader
from natx.data.classes import align_classes, check_classes
from natx.data.mixed import Mixed
from natx.data.on_device import OnDevice
from natx.errors import ConfigError
from natx.models.adversary import build_adversary
from natx.models.weights import weights_path
from natx.registry import ATTACKS, AUGMENTS, METHODS, METRICS, TASKS, THREATS
from natx.runtime.files import sha256
from natx.runtime.progress import Meter, say
from natx.threat import ThreatModel
from natx.training.copies import StandInCopies, WithCopies, copies_folder, make_copies
from natx.training.frozen_models import adversary_store, task_of
from natx.training.selection import Selection

TRAINING = "the training images"
SAME_ORDER = "give both the same classes in the same order"


def build_selection(config: Config, whole: Any) -> tuple[Any, Selection | None]:
    """(training images, how the best epoch is chosen).

    ``data.heldout`` images of the training set choose by default; ``protocol='paper'`` chooses on the test set, as the
    paper seems to, and the report says so; ``heldout=0`` keeps the last epoch. They are looked at after every epoch,
    under :func:`default_attack`, unless ``select`` says otherwise.
    """
    data, settings = config.data, plain_dict(config.get("select", {}))
    protocol, count = config.get("protocol", "heldout"), data.get("heldout", 0)
    attack = settings.pop("attack", None) if "attack" in settings else default_attack(config)
    if attack is not None:
        attack = seeded(attack, config.seed, by=Built(ATTACKS))
        settings["attack"] = build_attack(attack, threat=config.get("threat"))
    if config.get("metric") is not None:
        settings["metric"] = METRICS.build(plain_dict(config.metric))
    if protocol == "paper":
        held, _ = align_classes(build_dataset(plain_dict(data.test)), getattr(whole, "classes", None), owner=TRAINING)
        rest, name = whole, "the test set (protocol='paper')"
    elif count == 0:
        return whole, None
    else:
        seed = config.get("heldout_seed", 0)
        rest, held = hold_out(whole, count, seed=config.seed if seed == "run" else seed)
        held = _as_learnt(held, data.get("augments", ()))
        name = f"{count} held-out training {getattr(whole, 'held_unit', 'images')}"
    return rest, Selection(held, name, **settings)


def _as_learnt(held: Any, augments: Sequence[Any]) -> Any:
    """Held-out images, which see no augmentation, at the size to which one of these brings those that are learnt."""
    for augment in augments:
        augment = AUGMENTS.build(plain_dict(augment)) if isinstance(augment, dict) else augment
        held = augment.held_out(held) if hasattr(augment, "held_out") else held
    return held


def default_attack(config: Config) -> dict[str, Any] | None:
    """What chooses the best epoch where ``select`` names no attack: ten steps of PGD on the threat of the training.

    None, the clean score, where the method trains against no attack or an image by itself is not right or wrong.
    """
    threat = training_threat(plain_dict(config.method))
    kind = config.task.type if isinstance(config.task.type, type) else TASKS.get(config.task.type)
    if threat is None or not getattr(kind, "per_image_success", False):
        return None
    model = threat if isinstance(threat, ThreatModel) else THREATS.build(threat)
    return {"type": model.attack, "threat": threat, "steps": 10}


def training_threat(method: Any) -> Any:
    """The threat model of the attack in a method's config (of the first, where there are several), or None."""
    if not isinstance(method, dict):
        return None
    inner = [method[key] for key in ("attack", "method", "probe") if key in method]
    threats = (method.get("threat"), *map(training_threat, [*inner, *method.get("attacks", ())]))
    kind = method.get("type")
    usual = getattr(METHODS.module_dict.get(kind, kind), "usual_threat", None)
    return next((threat for threat in threats if threat is not None), usual)


def with_copies(
    config: Config, images: Any, whole: Any, work_dir: Path, *, device: torch.device, rehearsal: bool
) -> Any:
    """The images beside their adversarial copies, where ``data.copies`` asks for them.

    Copies are of all of ``whole`` and are made where they do not exist; in a ``rehearsal`` each image
    stands in for its own, and the settings are checked as far as they can be before the source is trained.
    """
    if config.data.get("copies") is None:
        return images
    if config.data.get("generated") is not None:
        raise ConfigError("data.copies and data.generated cannot be combined: copies exist for the real images only")
    settings = plain_dict(config.data.copies)
    attack = build_attack(settings["attack"], threat=config.get("threat"))
    source = build_adversary(settings["source"])
    if len(source) > 1 or (not rehearsal and settings["source"].get("checkpoint") is None):
        raise ConfigError(
            "data.copies.source is one model with weights: config=<training config> or task and checkpoint"
        )
    model = source.to(device).tasks[0]
    check_classes(whole, model.classes, owner="data.copies.source", remedy=SAME_ORDER)
    model.check_data(whole)
    if rehearsal:
        return StandInCopies(images)
    folder = copies_folder(
        adversary_store(config, work_dir),
        source=sha256(weights_path(settings["source"]["checkpoint"])),
        settings=task_of(settings["source"]),
        attack={**settings["attack"], "threat": str(attack.threat)},
        data=whole.fingerprint(),
    )
    say(f"adversarial copies of {len(whole)} training images: {folder}")
    meter = Meter(Console(quiet=True), say, enabled=get_dist_info()[0] == 0)
    return WithCopies(images, make_copies(model, whole, attack, folder=folder, meter=meter))


def with_generated(config: Config, images: Any, whole: Any) -> Any:
    """The training images (of ``whole``, without those held out) beside those of ``data.generated``, if there are any.

    Adversaries that are trained for the run do not get them: their schedules are for the real images.
    """
    data = config.data
    if data.get("generated") is None:
        return images
    generated = build_dataset(plain_dict(data.generated))
    generated, notes = align_classes(generated, getattr(whole, "classes", None), owner=TRAINING)
    for note in notes:
        say(f"note: data.generated: {note}")
    return Mixed(images, generated, whole=len(whole))


def build_loader(config: Config, images: Any, *, device: torch.device | None = None) -> DataLoader:
    """The training loader of a config; a method with ``replays`` and ``fresh`` has its batches replayed.

    Args:
        config: a training config.
        images: the training images.
        device: where the training runs: with ``data.on_device`` the images live there, and a GPU's come from pinned
            memory otherwise; the CPU by default.

    Raises:
        ConfigError: ``data.on_device`` with loading processes, or for images that cannot live there.
    """
    device = device or torch.device("cpu")
    data = config.data
    replays, fresh = replayed(config.method)
    resident = data.get("on_device", False)
    if resident and data.get("num_workers", 0):
        raise ConfigError("data.on_device leaves loading processes nothing to load: set data.num_workers=0")
    return train_loader(
        OnDevice(images, device) if resident else images,
        data.batch_size,
        seed=config.seed,
        num_workers=data.get("num_workers", 0),
        sampler=plain_dict(data.sampler) if data.get("sampler") else None,
        replays=replays,
        fresh=fresh,
        pin_memory=device.type == "cuda" and not resident,
    )


def replayed(method: dict[str, Any]) -> tuple[int, float]:
    """How often in a row a method's config has its batches shown, and the share of each that is new at every time."""
    while isinstance(method.get("method"), dict):  # a method around another, such as AWP
        method = method["method"]
    return method.get("replays", 1), method.get("fresh", 0.0)


def remarks(whole: Any, loader: DataLoader) -> Iterator[str]:
    """What the data set and the sampler have to say."""
    yield from getattr(whole, "notes", [])
    yield from getattr(loader.sampler, "notes", list)()
