"""From a training config to its parts: learner, images, hooks, and the runner that holds them."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from mmengine.config import Config
from mmengine.dist import get_dist_info
from mmengine.hooks import Hook, SyncBuffersHook

from natx.config import TRAINING, fingerprint, plain_dict, seeded, with_options
from natx.config.schema.built import Built
from natx.data import build_dataset
from natx.data.classes import check_classes
from natx.errors import ConfigError
from natx.methods import Method
from natx.methods.base import Setting
from natx.models.checkpoint import adopt_backbone, load_weights
from natx.models.compiled import compile_network
from natx.models.weights import read_weights
from natx.registry import HOOKS, METHODS, TASKS, THREATS
from natx.runtime.progress import say, seconds
from natx.task import Task
from natx.terms.base import Term
from natx.threat import NormBall, ThreatModel
from natx.training.fingerprints import decisive_settings, part_fingerprints, run_fingerprint
from natx.training.guard import Guard
from natx.training.hooks import EMA, Checkpoints, LogValues, ProcessorTime, ProgressHook, SeedHook, TermRemarks
from natx.training.hooks.checkpoints import STATE
from natx.training.images import (
    SAME_ORDER,
    build_loader,
    build_selection,
    remarks,
    replayed,
    training_threat,
    with_copies,
    with_generated,
)
from natx.training.leak import leak_remarks, learned_tests
from natx.training.learner import Learner
from natx.training.misfits import misfits
from natx.training.runner import NatxRunner
from natx.training.selection import Selection

RUNS = itertools.count()  # of this process: mmengine shares its logs among runs of one name in one second
NEW_HEAD = "start from the weights without their class layer (task.checkpoint with task.new_head=True)"


def build_runner(
    config: Config, work_dir: Path, *, device: torch.device, resume: bool = False, rehearsal: bool = False
) -> NatxRunner:
    """The runner of a config owner adversaries are resolved.

    Args:
        config: a training config.
        work_dir: where it writes.
        device: where it trains.
        resume: go on from ``work_dir/last.pth`` where it exists.
        rehearsal: it will never train; what only a training needs (adversarial copies, fingerprints) is left out.

    Raises:
        UserError: anything in the config or data that does not fit.
    """
    whole = build_dataset(plain_dict(config.data.train))
    learner = build_learner(config, seed=config.seed)
    _prepare(learner, config, whole, device=device)
    _compile(learner, config)
    images, selection = build_selection(config, whole)
    images = with_copies(config, images, whole, work_dir, device=device, rehearsal=rehearsal)
    images = with_generated(config, images, whole)
    count = len(whole) + len(getattr(images, "generated", ()))
    begin(learner, images=count, config=config, folder=None if rehearsal else work_dir)
    loader = build_loader(config, images, device=device)
    ema = _build_ema(config)
    guard = build_guard(config, learner, selection, images=count, folder=None if rehearsal else work_dir, device=device)
    every = seconds(config.get("checkpoint_every", "10min"), name="checkpoint_every")
    meta: dict[str, Any] = {}
    if not rehearsal:
        notes, leak = [*learner.task.notes(), *learner.method.notes()], learned_tests(config, whole)
        for remark in [*remarks(whole, loader), *leak_remarks(leak), *notes, *misfits(config, steps=len(loader))]:
            say(f"note: {remark}")
        meta = _meta(config, learner, whole, images, selection=selection, ema=ema) | leak
    settings = decisive_settings(config)
    checkpoints = Checkpoints(selection, meta=meta, settings=settings, ema=ema, guard=guard, every=every)
    if resume and (work_dir / STATE).exists():  # refused before anything is written
        checkpoints.read(work_dir / STATE, world_size=get_dist_info()[1])
    return NatxRunner(
        model=learner,
        work_dir=str(work_dir),
        train_dataloader=loader,
        custom_hooks=_hooks(config, ema, checkpoints, device=device, interval=_interval(config, len(loader))),
        device=device,
        quiet=rehearsal,
        **_settings(config, work_dir, steps=len(loader)),
    )


def build_learner(config: Config, *, seed: int) -> Learner:
    """The learner of a config; weights are drawn from ``seed`` without touching the global generator's state.

    So are the starts of inner attacks and all else that a method draws, where its config names no seed.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        task = TASKS.build(plain_dict(config.task))
        generator = torch.get_rng_state()
        method = _build_method(config, seed=seed)
    learner = Learner(task, method, augments=config.data.get("augments", ()), seed=seed, amp=config.get("amp"))
    learner.method_generator = generator
    mixing, fresh = [a for a in learner.augments if getattr(a, "mixes_images", False)], replayed(config.method)[1]
    if mixing and fresh:
        raise ConfigError(
            f"{type(mixing[0]).__name__} blends an image with those beside it; fresh={fresh:g} puts others there at "
            "every replay, which would be another image each time: set fresh=0, or leave it out"
        )
    return learner


def _build_method(config: Config, *, seed: int) -> Method:
    method: Method = METHODS.build(seeded(plain_dict(config.method), seed, by=Built(METHODS)))
    return method


def _compile(learner: Learner, config: Config) -> None:
    """Compile the network where ``compile`` asks for it: for batches, and for those of several views at once.

    Raises:
        ConfigError: the method, or one of ``guard.stronger``, needs what compiled graphs cannot do.
    """
    if not config.get("compile"):
        return
    stronger = plain_dict(config.get("guard") or {}).get("stronger", ())
    methods = [learner.method, *(_stronger_method(config, learner, stronger[: i + 1]) for i in range(len(stronger)))]
    if twice := next((method for method in methods if method.differentiates_twice), None):
        raise ConfigError(
            f"{type(twice).__name__} differentiates the network's gradients, which compiled graphs cannot: leave "
            "compile out"
        )
    full = [config.data.batch_size * (i + 1) for i in range(max(len(method.views) for method in methods))]
    compile_network(learner.task, sizes=full, backend=config.compile)


def _prepare(learner: Learner, config: Config, whole: Any, *, device: torch.device) -> None:
    """Give the learner the weights it starts from and its classes; check it against the data and its companions."""
    start = config.get("start") or {}
    if start.get("checkpoint") is not None:
        checkpoint, ema = start["checkpoint"], bool(start.get("ema", False))
        if start.get("part") == "backbone":
            say(f"start: {adopt_backbone(learner.task, read_weights(checkpoint, ema=ema))}")
        else:
            say(f"start: {load_weights(learner.task, checkpoint, ema=ema)['weights']}")
    check_classes(whole, learner.task.classes, owner="the weights to start from", remedy=f"{SAME_ORDER}, or {NEW_HEAD}")
    learner.task.check_data(whole)
    learner.task.classes = getattr(whole, "classes", None)
    learner.method.prepare(learner.task, device)


def begin(learner: Learner, *, images: int, config: Config, folder: Path | None) -> None:
    """Tell the method of the training that begins; see :class:`natx.methods.base.Setting`."""
    learner.method.begin(_setting(learner, images=images, config=config, folder=folder))


def _setting(learner: Learner, *, images: int, config: Config, folder: Path | None) -> Setting:
    moves = learner.moved if learner.augments else None
    batch = config.data.batch_size * get_dist_info()[1] * config.optim_wrapper.get("accumulative_counts", 1)
    return Setting(images, config.train_cfg.max_epochs, folder, moves, batch)


def build_guard(
    config: Config,
    learner: Learner,
    selection: Selection | None,
    *,
    images: int,
    folder: Path | None,
    device: torch.device,
) -> Guard | None:
    """What looks for catastrophic overfitting: there by default where a classifier is trained on single steps.

    It takes a look under FGSM more than the choice of the best epoch does anyway, and what it tells cannot be seen
    otherwise before the training ends; it changes what is trained only where ``guard.stronger`` says how.

    Args:
        config: a training config.
        learner: what trains.
        selection: how the best epoch is chosen; its images are looked at.
        images: number of training images.
        folder: of the run; None in a rehearsal.
        device: where it trains.

    Raises:
        ConfigError: a guard that cannot look, or stronger settings that do not fit.
    """
    settings, threat = plain_dict(config.get("guard") or {}), training_threat(plain_dict(config.method))
    wanted = config.get("guard") is not None
    if not wanted and ("guard" in config or not learner.method.single_step):
        return None
    model = THREATS.build(threat) if isinstance(threat, dict) else threat
    able = isinstance(model, NormBall) and learner.task.per_image_success
    if selection is None or not able:
        if not wanted:
            return None
        raise ConfigError(
            "guard compares accuracies under two attacks on held-out images: it needs data.heldout, a method that "
            "trains against a norm ball as its threat model, and a task in which an image by itself is right or wrong"
        )
    stronger = settings.get("stronger", ())
    parts = [stronger[: i + 1] for i in range(len(stronger))]
    methods = [_stronger_method(config, learner, options) for options in parts]  # refused now, or never
    if any(replayed(_stronger(config, options).method) != replayed(config.method) for options in parts):
        raise ConfigError(
            "guard.stronger cannot change replays or fresh, nor go from a method with them to one without: the batches "
            "come in the order that the run's own method has them in; change something else of it, such as its step"
        )
    if stronger and any(True for method in (learner.method, *methods) for _ in method.parameters()):
        raise ConfigError(
            "guard.stronger exchanges the method, and this one, or a stronger one, trains networks of its own, whose "
            "place in the optimiser nothing could take: leave guard.stronger out"
        )

    def method_after(times: int) -> Method:
        method = _stronger_method(config, learner, stronger[:times])
        method.prepare(learner.task, device)
        method.begin(_setting(learner, images=images, config=config, folder=folder))
        return method.to(device)

    return Guard(selection, model, seed=config.seed, method_after=method_after, **settings)


def _stronger_method(config: Config, learner: Learner, options: Sequence[dict[str, Any]]) -> Method:
    """The method of a config under overrides; what it draws (a random adversary) is what the learner's own drew."""
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(learner.method_generator)
        return _build_method(_stronger(config, options), seed=config.seed)


def _stronger(config: Config, options: Sequence[dict[str, Any]]) -> Config:
    """A config under overrides of its method, each on top of those before it."""
    changed = Config(plain_dict(config), filename=config.filename)
    for overrides in options:
        if other := [key for key in overrides if key != "method" and not key.startswith("method.")]:
            raise ConfigError(
                f"guard.stronger overrides keys of the method, as {{'method.attack.noise': 2.0}}; got {other[0]!r}"
            )
        changed = with_options(changed, overrides, kind=TRAINING)
    return changed


def _meta(
    config: Config, learner: Learner, whole: Any, images: Any, *, selection: Selection | None, ema: EMA | None
) -> dict[str, Any]:
    """What a checkpoint says about itself: plain values."""
    return {
        "task": json.loads(json.dumps(plain_dict(config.task), default=str)),
        "fingerprint": run_fingerprint(config, whole, getattr(images, "generated", None)),
        "recipe": part_fingerprints(config),
        "seed": config.seed,
        "classes": list(learner.task.classes or ()),
        **_input_size(learner.task, whole),
        **_threat(learner.method),
        **({} if learner.task.normalisation is None else {"normalisation": learner.task.normalisation}),
        "selected_on": selection.describe(learner.task) if selection else "nothing (last epoch)",
        "terms": [cast(Term, term).describe() for term in learner.method.terms],
        **({} if ema is None else {"ema": {"decay": ema.decay, "warmup": ema.warmup}}),
    }


def _threat(method: Method) -> dict[str, str]:
    """The threat model that the method trains against as an entry of a checkpoint's meta; nothing where it has none."""
    sources = [source for part in method.modules() for source in (part, getattr(part, "attack", None))]
    threats = [getattr(source, "threat", None) for source in sources]
    return next(({"threat": str(threat)} for threat in threats if isinstance(threat, ThreatModel)), {})


def _input_size(task: Task, dataset: Any) -> dict[str, list[int]]:
    """Channels, height and width of the images as entries of a checkpoint's meta; nothing where they may differ."""
    return {"input_size": list(dataset.__getitems__([0])["inputs"].shape[1:])} if task.per_image_success else {}


def _interval(config: Config, steps: int) -> int:
    """Iterations between two lines of the log of a run with so many steps an epoch."""
    return config.get("log_interval", max(1, min(50, steps)))


def _hooks(
    config: Config, ema: EMA | None, checkpoints: Checkpoints, *, device: torch.device, interval: int
) -> list[Hook]:
    """The hooks beside mmengine's own, in the order of their registration."""
    return [
        SeedHook(config.seed),
        TermRemarks(),
        ProgressHook(),
        *([ProcessorTime(interval)] if device.type == "cpu" else []),
        SyncBuffersHook(),  # batch-norm statistics: the mean over processes, before they are judged and saved
        *([] if ema is None else [ema]),
        checkpoints,
    ]


def _build_ema(config: Config) -> EMA | None:
    """The average of the weights that ``ema`` asks for, which then is what is judged, selected and saved."""
    settings = config.get("ema")
    return None if settings is None else HOOKS.build(dict(settings, type="EMA"))


def _settings(config: Config, work_dir: Path, *, steps: int) -> dict[str, Any]:
    """mmengine's own settings of a run with so many steps an epoch."""
    interval = _interval(config, steps)
    # mmengine writes the folder into each: another run of the same config would log into the first one's.
    backends = copy.deepcopy(config.get("vis_backends", [dict(type="LocalVisBackend")]))
    return dict(
        train_cfg=plain_dict(config.train_cfg),
        optim_wrapper=plain_dict(config.optim_wrapper),
        param_scheduler=config.get("param_scheduler", []),
        default_hooks=dict(
            checkpoint=None, runtime_info=LogValues(interval), logger=dict(type="LoggerHook", interval=interval)
        ),
        visualizer=dict(type="Visualizer", vis_backends=backends),
        randomness=dict(seed=config.seed),
        launcher=config.get("launcher", "none"),
        experiment_name=f"{work_dir.name}-{fingerprint(config)}-{next(RUNS)}",
        cfg=config,
    )
