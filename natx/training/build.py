"""From a training config to its parts: learner, data, selection, and the runner that holds them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import get_dist_info
from mmengine.hooks import SyncBuffersHook
from rich.console import Console
from torch.utils.data import DataLoader

from natx.attacks import build_attack
from natx.config import fingerprint, plain_dict, require
from natx.data import build_dataset, hold_out, train_loader
from natx.data.mixed import Mixed
from natx.errors import ConfigError
from natx.methods import Method
from natx.methods.base import Setting
from natx.models.adversary import build_adversary
from natx.models.checkpoint import load_weights
from natx.registry import HOOKS, METHODS, METRICS, TASKS
from natx.runtime.files import sha256
from natx.runtime.progress import Meter, say
from natx.task import Task
from natx.training.copies import WithCopies, copies_folder, make_copies
from natx.training.frozen import adversary_store, identity, recipe, task_of
from natx.training.hooks import EMA, Checkpoints, LogValues, ProgressHook, SeedHook
from natx.training.learner import Learner
from natx.training.runner import NatxRunner
from natx.training.selection import Selection

COPIES = ("data.copies.source", "data.copies.attack")  # what data.copies must name


def build_runner(config: Config, work_dir: Path, *, device: torch.device, resume: bool = False) -> NatxRunner:
    """The runner of a config whose adversaries are resolved."""
    data, seed = config.data, config.seed
    whole = build_dataset(plain_dict(data.train))
    learner = build_learner(config, seed=seed)
    if config.get("start", {}).get("checkpoint") is not None:
        load_weights(learner.task, Path(config.start.checkpoint))
    learner.task.check_data(whole)
    learner.task.classes = getattr(whole, "classes", None)
    learner.method.prepare(learner.task, device)
    dataset, selection = build_selection(config, whole)
    if data.get("copies") is not None:
        dataset = WithCopies(dataset, _prepare_copies(config, whole, work_dir, device=device))
    dataset = with_generated(config, dataset, whole)
    begin(learner, images=len(whole) + len(getattr(dataset, "generated", ())), config=config, folder=work_dir)
    loader = build_loader(config, dataset)
    for note in [*getattr(whole, "notes", []), *getattr(loader.sampler, "notes", list)()]:
        say(f"note: {note}")
    meta = {
        "task": json.loads(json.dumps(plain_dict(config.task), default=str)),
        "fingerprint": identity(config, whole, getattr(dataset, "generated", None)),
        "recipe": recipe(config),
        "seed": seed,
        "classes": list(learner.task.classes or ()),
        **_input_size(learner.task, whole),
        "selected_on": selection.name if selection else "nothing (last epoch)",
        "terms": [term.describe() for term in learner.method.terms],
    }
    ema = _build_ema(config)
    if ema is not None:
        meta["ema"] = {"decay": ema.decay, "warmup": ema.warmup}
    interval = config.get("log_interval", max(1, min(50, len(loader))))
    return NatxRunner(
        model=learner,
        work_dir=str(work_dir),
        train_dataloader=loader,
        train_cfg=dict(by_epoch=True, **plain_dict(config.train_cfg)),
        optim_wrapper=plain_dict(config.optim_wrapper),
        param_scheduler=config.get("param_scheduler", []),
        default_hooks=dict(
            checkpoint=None, runtime_info=LogValues(interval), logger=dict(type="LoggerHook", interval=interval)
        ),
        custom_hooks=[
            SeedHook(seed),
            ProgressHook(),
            SyncBuffersHook(),  # batch-norm statistics: the mean over processes, before they are judged and saved
            *([] if ema is None else [ema]),
            Checkpoints(selection, meta=meta, resume=resume, ema=ema),
        ],
        visualizer=dict(type="Visualizer", vis_backends=config.get("vis_backends", [dict(type="LocalVisBackend")])),
        randomness=dict(seed=seed),
        launcher=config.get("launcher", "none"),
        experiment_name=f"{work_dir.name}-{fingerprint(config)}-{id(config)}",
        cfg=config,
        device=device,
    )


def begin(learner: Learner, *, images: int, config: Config, folder: Path | None) -> None:
    """Tell the method of the training that begins; see :class:`natx.methods.base.Setting`."""
    moves = learner.moved if learner.augments else None
    learner.method.begin(Setting(images, config.train_cfg.max_epochs, folder, moves))


def _input_size(task: Task, dataset: Any) -> dict[str, list[int]]:
    """Channels, height and width of the images as entries of a checkpoint's meta; nothing where they may differ."""
    return {"input_size": list(dataset.__getitems__([0])["inputs"].shape[1:])} if task.per_image_success else {}


def build_learner(config: Config, *, seed: int) -> Learner:
    """The learner of a config; weights are drawn from ``seed`` without touching the global generator's state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        task = TASKS.build(plain_dict(config.task))
        method: Method = METHODS.build(plain_dict(config.method))
    return Learner(task, method, augments=config.data.get("augments", ()), seed=seed, amp=config.get("amp"))


def build_loader(config: Config, dataset: Any) -> DataLoader:
    """The training loader of a config; a method with ``replays`` and ``fresh`` has its batches replayed."""
    data, method = config.data, config.method
    while isinstance(method.get("method"), dict):  # a method around another, such as AWP
        method = method.method
    return train_loader(
        dataset,
        data.batch_size,
        seed=config.seed,
        num_workers=data.get("num_workers", 0),
        sampler=plain_dict(data.sampler) if data.get("sampler") else None,
        replays=method.get("replays", 1),
        fresh=method.get("fresh", 0.0),
    )


def build_selection(config: Config, whole: Any) -> tuple[Any, Selection | None]:
    """(training images, how the best epoch is chosen).

    ``data.heldout`` images of the training set choose by default; ``protocol='paper'`` chooses on the test set, as the
    paper seems to, and the report says so; ``heldout=0`` keeps the last epoch.
    """
    data, select = config.data, plain_dict(config.get("select", {}))
    protocol, count = config.get("protocol", "heldout"), data.get("heldout", 0)
    if protocol not in ("heldout", "paper"):
        raise ConfigError(f"protocol is 'heldout' or 'paper'; got {protocol!r}")
    attack = select.pop("attack", None)
    if attack is not None:
        select["attack"] = build_attack(attack, threat=config.get("threat"))
    if config.get("metric") is not None:
        select["metric"] = METRICS.build(plain_dict(config.metric))
    if protocol == "paper":
        rest, chosen, name = whole, build_dataset(plain_dict(data.test)), "the test set (protocol='paper')"
    elif count == 0:
        return whole, None
    else:
        rest, chosen = hold_out(whole, count, seed=config.get("heldout_seed", 0))
        name = f"{count} held-out training {getattr(whole, 'held_unit', 'images')}"
    try:
        return rest, Selection(chosen, name, **select)
    except TypeError as error:
        raise ConfigError(f"select={select} does not fit: {error}") from error


def with_generated(config: Config, dataset: Any, whole: Any) -> Any:
    """The training images (of ``whole``, without those held out) beside those of ``data.generated``, if there are any.

    Adversaries that are trained for the run do not get them: their schedules are for the real images.
    """
    data = config.data
    if data.get("generated") is None:
        return dataset
    if data.get("copies") is not None:
        raise ConfigError("data.copies and data.generated cannot be combined: copies exist for the real images only")
    return Mixed(dataset, build_dataset(plain_dict(data.generated)), whole=len(whole))


def _build_ema(config: Config) -> EMA | None:
    """The average of the weights that ``ema`` asks for, which then is what is judged, selected and saved."""
    settings = config.get("ema")
    if settings is None:
        return None
    if not isinstance(settings, dict):
        raise ConfigError(f"ema is a dict, e.g. dict(decay=0.995, warmup=0.025); got {settings!r}")
    return HOOKS.build(dict(settings, type="EMA"))


def _prepare_copies(config: Config, whole: Any, work_dir: Path, *, device: torch.device) -> Path:
    """The folder of ``data.copies``: adversarial copies of the training images, made where they do not exist yet."""
    require(config, COPIES, path=config.filename or "config")
    settings = plain_dict(config.data.copies)
    attack = build_attack(settings["attack"], threat=config.get("threat"))
    source = build_adversary(settings["source"]).to(device)
    if len(source) > 1 or settings["source"].get("checkpoint") is None:
        raise ConfigError(
            "data.copies.source is one model with weights: config=<training config> or task and checkpoint"
        )
    model = source.tasks[0]
    model.check_data(whole)
    folder = copies_folder(
        adversary_store(config, work_dir),
        source=sha256(Path(settings["source"]["checkpoint"])),
        settings=task_of(settings["source"]),
        attack={**settings["attack"], "threat": str(attack.threat)},
        data=whole.fingerprint(),
    )
    say(f"adversarial copies of {len(whole)} training images: {folder}")
    meter = Meter(Console(quiet=True), say, enabled=get_dist_info()[0] == 0)
    return make_copies(model, whole, attack, folder=folder, meter=meter)
