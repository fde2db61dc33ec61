"""From a training config to a trained model: builds the parts, trains adversaries first, runs mmengine's Runner."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import barrier, get_dist_info
from mmengine.hooks import SyncBuffersHook
from mmengine.logging import MMLogger
from rich.console import Console
from torch.utils.data import DataLoader

from natx.adversary import build_adversary
from natx.attacks import build_attack
from natx.checkpoint import load_weights
from natx.config import fingerprint, load_config, plain_dict, require, with_options
from natx.data import build_dataset, hold_out, train_loader
from natx.data.copies import WithCopies, copies_folder, make_copies
from natx.data.mixed import Mixed
from natx.errors import ConfigError, DataError
from natx.evaluation import Selection
from natx.files import exclusive, sha256, write_json
from natx.hooks import EMA, Checkpoints, NonFiniteGuard, ProgressHook, SeedHook
from natx.learner import Learner
from natx.methods import Method
from natx.progress import Meter
from natx.provenance import provenance
from natx.registry import HOOKS, METHODS, METRICS, TASKS
from natx.runner import NatxRunner

LOGGER = logging.getLogger("natx")
REQUIRED = ("task", "method", "data.train", "data.batch_size", "optim_wrapper", "train_cfg.max_epochs", "seed")
COPIES_REQUIRED = ("data.copies.source", "data.copies.attack")
DONE = "done.json"
# Task settings under which a model is built without reading or downloading weights.
_UNLOADED = {"pretrained": False, "checkpoint": None}


def train(config: Config, work_dir: Path, *, device: torch.device, resume: bool = False) -> Path:
    """Train what a config describes; its adversaries first, where they do not exist yet.

    Writes ``best.safetensors``, ``last.safetensors``, ``last.pth``, the config, logs and, at the end, ``done.json``
    into ``work_dir``.

    Args:
        config: a training config.
        work_dir: where to write; never deleted.
        device: where to train.
        resume: go on from ``work_dir/last.pth`` where it exists.

    Returns:
        The path of the best weights.

    Raises:
        UserError: anything in the config or data that does not fit.
    """
    require(config, REQUIRED, path=config.filename or "config")
    if not resume and (work_dir / "last.pth").exists():
        raise ConfigError(f"{work_dir} holds a run already: add --resume to go on with it, or use another --work-dir")
    if any(map(needs_training, frozen_models(config))):  # refused now, and not after hours of training an adversary
        _with_generated(config, whole := build_dataset(plain_dict(config.data.train)), whole)
    config = prepare_adversaries(config, work_dir, device=device)
    runner = build_runner(config, work_dir, device=device, resume=resume)
    runner.train()
    best = work_dir / "best.safetensors"
    if runner.rank == 0:
        write_json(
            work_dir / DONE,
            {"best": sha256(best), "fingerprint": fingerprint(config), "provenance": provenance(device)},
        )
    runner.visualizer.close()
    barrier()
    return best


def build_learner(config: Config, *, seed: int) -> Learner:
    """The learner of a config; weights are drawn from ``seed`` without touching the global generator's state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        task = TASKS.build(plain_dict(config.task))
        method: Method = METHODS.build(plain_dict(config.method))
    return Learner(task, method, augments=config.data.get("augments", ()), seed=seed, amp=config.get("amp"))


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
    dataset = _with_generated(config, dataset, whole)
    loader = build_loader(config, dataset)
    for note in [*getattr(whole, "notes", []), *getattr(loader.sampler, "notes", list)()]:
        _say(f"note: {note}")
    meta = {
        "task": json.loads(json.dumps(plain_dict(config.task), default=str)),
        "fingerprint": _identity(config, whole, getattr(dataset, "generated", None)),
        "seed": seed,
        "classes": list(learner.task.classes or ()),
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
        default_hooks=dict(checkpoint=None, logger=dict(type="LoggerHook", interval=interval)),
        custom_hooks=[
            SeedHook(seed),
            NonFiniteGuard(),
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


def _build_ema(config: Config) -> EMA | None:
    """The average of the weights that ``ema`` asks for, which then is what is judged, selected and saved."""
    settings = config.get("ema")
    if settings is None:
        return None
    if not isinstance(settings, dict):
        raise ConfigError(f"ema is a dict, e.g. dict(decay=0.995, warmup=0.025); got {settings!r}")
    return HOOKS.build(dict(settings, type="EMA"))


def _with_generated(config: Config, dataset: Any, whole: Any) -> Any:
    """The training images (of ``whole``, without those held out) beside those of ``data.generated``, if there are any.

    Adversaries that are trained for the run do not get them: their schedules are for the real images.
    """
    data = config.data
    if data.get("generated") is None:
        return dataset
    if data.get("copies") is not None:
        raise ConfigError("data.copies and data.generated cannot be combined: copies exist for the real images only")
    return Mixed(dataset, build_dataset(plain_dict(data.generated)), whole=len(whole))


def _prepare_copies(config: Config, whole: Any, work_dir: Path, *, device: torch.device) -> Path:
    """The folder of ``data.copies``: adversarial copies of the training images, made where they do not exist yet."""
    require(config, COPIES_REQUIRED, path=config.filename or "config")
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
        _adversary_store(config, work_dir),
        source=sha256(Path(settings["source"]["checkpoint"])),
        settings=_task_of(settings["source"]),
        attack={**settings["attack"], "threat": str(attack.threat)},
        data=whole.fingerprint(),
    )
    _say(f"adversarial copies of {len(whole)} training images: {folder}")
    meter = Meter(Console(quiet=True), _say, enabled=get_dist_info()[0] == 0)
    return make_copies(model, whole, attack, folder=folder, meter=meter)


def _task_of(entry: dict[str, Any]) -> dict[str, Any]:
    """The task config of a frozen model given by its task or by a training config."""
    if "task" in entry:
        return entry["task"]
    return plain_dict(load_config(entry["config"], options=entry.get("options")).task)


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


def prepare_adversaries(config: Config, work_dir: Path, *, device: torch.device) -> Config:
    """A copy of the config in which every model of :func:`frozen_models` that a training config gives has a checkpoint.

    It is trained once per resolved config and data, under ``adversary_dir`` (default: ``adversaries`` beside
    the work_dir), in a folder named after both; a killed training goes on where it was, a changed config trains anew.
    """
    config = Config(plain_dict(config), filename=config.filename)
    for entry in frozen_models(config):
        if not needs_training(entry):
            continue
        store = _adversary_store(config, work_dir)
        recipe = adversary_recipe(config, entry, store)
        try:
            folder = train_once(recipe, store, device=device)
        except (ConfigError, DataError) as error:
            raise type(error)(f"{entry['config']}, which is to be trained first: {error}") from error
        for key in ("config", "options"):
            entry.pop(key, None)
        entry.update(task=plain_dict(recipe.task), checkpoint=str(folder / "best.safetensors"))
    return config


def train_once(config: Config, store: Path, *, device: torch.device) -> Path:
    """Train a config into ``store/<config name>-<fingerprint>`` unless that is done; returns the folder.

    A second process that needs the same model waits for the first; a killed one loses its lock.
    """
    folder = _stored(config, store)
    with exclusive(folder / ".lock") if get_dist_info()[0] == 0 else nullcontext():
        barrier()
        if (folder / DONE).exists() and (folder / "best.safetensors").exists():
            _say(f"reusing {folder}")
            return folder
        _say(f"training {config.filename} into {folder} (once; later runs reuse it)")
        train(config, folder, device=device, resume=True)
        _say(f"done: {folder}")
    return folder


def adversary_recipe(config: Config, entry: dict[str, Any], store: Path) -> Config:
    """An adversary's training config: on the run's data, with its precision, launcher, log settings and ``store``.

    A counterpart of the same architecture takes the run's whole task config (weights it starts from, input size); its
    schedule, batch size and seed are its own. ``options`` of the entry override everything.
    """
    recipe = load_config(entry["config"])
    require(recipe, REQUIRED, path=entry["config"])
    recipe.adversary_dir = str(store)  # a teacher trained by NAT has an adversary of its own
    for key in ("amp", "launcher", "vis_backends", "log_interval"):
        if key in config:
            recipe[key] = config[key]
    if all(recipe.task.get(key) == config.task.get(key) for key in ("type", "model")):
        recipe.task = config.task
    for key in ("train", "test", "heldout", "num_workers", "augments"):
        if key in config.data:
            recipe.data[key] = config.data[key]
    if entry.get("options"):
        recipe = with_options(recipe, entry["options"])
    return recipe


def _adversary_store(config: Config, work_dir: Path) -> Path:
    return Path(config.get("adversary_dir") or work_dir.parent / "adversaries")


def _stored(config: Config, store: Path) -> Path:
    data = build_dataset(plain_dict(config.data.train)).fingerprint()
    return store / f"{Path(config.filename or 'model').stem}-{fingerprint(config, data=data)}"


def needs_training(entry: dict[str, Any]) -> bool:
    """Whether an adversary is given by a training config alone, without weights or a state."""
    return "config" in entry and entry.get("checkpoint") is None and entry.get("state") is None


def frozen_models(config: Config) -> Iterator[dict[str, Any]]:
    """Configs of all models that must exist before a run: adversaries, sources of copies, what it is to ``start`` from.

    Members of ensembles come one by one. They are the config's own dicts: changing one changes the config.
    """
    yield from _frozen_models(config._cfg_dict)


def _frozen_models(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("adversary", "source", "start", "teacher") and isinstance(value, dict):
                yield from value.get("members", [value])
            else:
                yield from _frozen_models(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from _frozen_models(value)


def _identity(config: Config, dataset: Any, generated: Any = None) -> str:
    """Fingerprint of a run: config, data and adversaries, which count by their weights and not by where these lie."""
    copy = Config(plain_dict(config))
    for entry in frozen_models(copy):
        if entry.get("checkpoint") is not None:
            entry["checkpoint"] = sha256(Path(entry["checkpoint"]))
    data = dataset.fingerprint() + ("" if generated is None else generated.fingerprint())
    return fingerprint(copy, data=data)


def _say(message: str) -> None:
    if get_dist_info()[0] == 0:
        MMLogger.get_current_instance().info(message)


def describe_plan(config: Config, work_dir: Path, *, device: torch.device) -> list[str]:
    """Lines that say what a training will do and cost, without starting it, training adversaries or loading weights."""
    lines = [f"config: {config.filename}", f"work dir: {work_dir}", f"device: {device}, {_precision(config)}"]
    return lines + _plan_lines(config, work_dir, said=set())


def _plan_lines(config: Config, work_dir: Path, *, said: set[Path]) -> list[str]:
    """What is trained before a config's own training, and what both cost; ``said`` are folders known by now."""
    lines, copy = [], Config(plain_dict(config), filename=config.filename)
    store = _adversary_store(config, work_dir)
    for own in frozen_models(copy):
        if not needs_training(own):
            continue
        recipe = adversary_recipe(config, own, store)
        folder = _stored(recipe, store)
        known = (folder / DONE).exists()
        if folder not in said:
            said.add(folder)
            lines.append(
                f"adversary: {own['config']}, " + (f"reused from {folder}" if known else f"trained first into {folder}")
            )
            lines += [] if known else [f"  {line}" for line in _plan_lines(recipe, folder, said=said)]
        for key in ("config", "options"):
            own.pop(key, None)
        own.update(task=plain_dict(recipe.task), state="random")
    return lines + _cost_lines(copy)


def _cost_lines(config: Config) -> list[str]:
    """What the training itself costs, from counting (the time follows after the first iterations)."""
    config = without_weights(config)
    learner = build_learner(config, seed=config.seed)
    whole = build_dataset(plain_dict(config.data.train))
    learner.task.check_data(whole)
    learner.method.prepare(learner.task, torch.device("cpu"))  # an adversary that does not fit is refused here already
    forwards, backwards = learner.method.cost()
    batch, epochs, world_size = config.data.batch_size, config.train_cfg.max_epochs, get_dist_info()[1]
    dataset, _ = build_selection(config, whole)
    dataset = _with_generated(config, dataset, whole)
    steps = len(build_loader(config, dataset))
    count = steps * batch * world_size * epochs
    made = config.data.get("copies")
    copies = [] if made is None else [_copies_line(config, len(whole))]
    parameters = sum(p.numel() for p in learner.task.parameters())
    model = config.task.get("model", config.task.type)
    model = model if isinstance(model, str) else model.type
    return [
        f"model: {model}, {parameters / 1e6:.2f} M parameters; {len(dataset)} training images",
        f"method: {config.method.type}, views {' + '.join(learner.method.views)}, "
        f"terms {' + '.join(type(t).__name__ for t in learner.method.terms)}",
        f"cost: {forwards:g} forwards and {backwards:g} backwards per image and step "
        f"(inner attack, views, adversary); {epochs} epochs x {steps} steps of {batch * world_size} images = "
        f"{count * forwards:,.0f} forwards and {count * backwards:,.0f} backwards of one image",
        *copies,
    ]


def without_weights(config: Config) -> Config:
    """A copy of the config whose task is built without reading or downloading weights."""
    config = Config(plain_dict(config), filename=config.filename)
    config.task.update({key: value for key, value in _UNLOADED.items() if key in config.task})
    return config


def _copies_line(config: Config, count: int) -> str:
    require(config, COPIES_REQUIRED, path=config.filename or "config")
    attack = build_attack(plain_dict(config.data.copies.attack), threat=config.get("threat"))
    forwards, backwards = attack.cost_per_image() or (0, 0)
    return (
        f"adversarial copies, made once before training: {count} images, {count * (1 + forwards):,.0f} forwards and "
        f"{count * backwards:,.0f} backwards of one image"
    )


def _precision(config: Config) -> str:
    return "bfloat16 autocast" if config.get("amp") else "float32"


__all__ = [
    "adversary_recipe",
    "build_learner",
    "build_loader",
    "build_runner",
    "build_selection",
    "describe_plan",
    "frozen_models",
    "needs_training",
    "prepare_adversaries",
    "train",
    "train_once",
    "without_weights",
]
